"""`python -m sasa.report archive`: the records of finished runs in one file, for other machines, people and repositories."""

import argparse
from pathlib import Path

from sasa.errors import InputError, unknown
from sasa.records.archive import once, write_archive
from sasa.records.collect import collect
from sasa.report.merge import number
from sasa.report.paper import find_table


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m sasa.report archive", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("tables", nargs="*", metavar="TABLE", help="only the runs that are rows of these tables (default: all runs)")
    add("--scale", help="only the runs at this scale")
    add("--variant", help="only the runs with these overrides, '' for none")
    add("--with-weights", action="store_true", help="put the evaluated weights in, too (weights.safetensors)")
    add("--output", type=Path, default=Path("outputs"), metavar="DIR", help="where the runs are (default: outputs)")
    add("--to", type=Path, default=Path("results.zip"), metavar="FILE", help="default: results.zip")
    options = parser.parse_args(arguments)
    tables = {find_table(name).name for name in options.tables}
    if options.to.suffix != ".zip":
        raise InputError(f"--to {options.to}: expected a name that ends in .zip")
    found = collect(options.output)
    scales = sorted({run.scale for run in found.runs})
    if options.scale and scales and options.scale not in scales:
        raise unknown("scale", options.scale, scales)
    runs = [
        run
        for run in once(found.runs)
        if options.scale in (None, run.scale)
        and options.variant in (None, run.variant)
        and (not tables or tables & {run.table, *(table for table, _ in run.rows)})
    ]
    if not runs:
        raise InputError(f"there is no such finished run in {options.output}")
    try:
        options.to.parent.mkdir(parents=True, exist_ok=True)
        write_archive(options.to, runs, found.places, options.with_weights)
    except OSError as error:
        raise InputError(f"cannot write {options.to}: {error.strerror or error} ({error.filename})") from error
    size = options.to.stat().st_size / 1000
    print(f"{options.to}: {number(runs)}, {size:.0f} KB ({size / len(runs):.1f} KB a run)")
