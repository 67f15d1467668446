"""`python -m sasa.report merge FILE...`: runs of other machines or people, from archives, beside one's own in outputs/."""

import argparse
from pathlib import Path

from sasa.errors import InputError
from sasa.records.archive import merge


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m sasa.report merge", description=__doc__, allow_abbrev=False)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="archives of python -m sasa.report archive")
    parser.add_argument(
        "--output", type=Path, default=Path("outputs"), metavar="DIR", help="where to (default: outputs)"
    )
    options = parser.parse_intermixed_args(arguments)
    try:
        came, had = merge(options.files, options.output)
    except OSError as error:
        raise InputError(f"cannot write to {options.output}: {error.strerror} ({error.filename})") from error
    print(f"{len(came)} runs added to {options.output}, {len(had)} known there already")
