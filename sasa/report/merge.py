"""`python -m sasa.report merge FILE...`: runs of other machines or people, from archives, beside one's own in outputs/."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sasa.errors import InputError
from sasa.records.archive import merge
from sasa.records.result import Run


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m sasa.report merge", description=__doc__, allow_abbrev=False)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="archives of python -m sasa.report archive")
    parser.add_argument(
        "--output", type=Path, default=Path("outputs"), metavar="DIR", help="where to (default: outputs)"
    )
    options = parser.parse_intermixed_args(arguments)
    try:
        came, had, other = merge(options.files, options.output)
    except OSError as error:
        raise InputError(f"cannot write to {options.output}: {error.strerror} ({error.filename})") from error
    print(f"{number(came)} added to {options.output}, {len(had)} known there already")
    if other:
        print(f"{number(other)} left out: of another version of sasa, whose numbers do not compare with this one's")


def number(runs: Sequence[Run]) -> str:
    return f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
