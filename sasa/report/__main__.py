"""`python -m sasa.report`: the paper's tables beside our runs.

Also, each with --help: status, verdicts, results, dashboard, browse, archive, merge, wandb.
"""

import argparse
import os
import sys
from collections.abc import Iterable
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import TextIO

from rich.console import Console

from sasa.config import files, shortcut
from sasa.errors import InputError, unknown
from sasa.records.collect import collect_with_shipped
from sasa.records.result import Run
from sasa.report.groups import settings
from sasa.report.own import add_tables
from sasa.report.paper import TABLES, Table, find_table
from sasa.report.tables.compare import Comparison, command, compare
from sasa.report.tables.terminal import print_comparison, print_left_out
from sasa.report.tables.text import comma_separated, latex, markdown, structured

PROGRAMS = {  # imported when asked for: a table needs none of what they need
    "dashboard": "sasa.report.pages.build",
    "browse": "sasa.report.pages.serve",
    "status": "sasa.report.status",
    "verdicts": "sasa.report.verdicts",
    "results": "sasa.report.results",
    "archive": "sasa.report.archive",
    "merge": "sasa.report.merge",
    "wandb": "sasa.report.tracker",
}
FORMATS = ("rich", "markdown", "csv", "latex", "json")
FILE_WIDTH = 120


def main(arguments: list[str] | None = None) -> int:
    """Run the command and returns its exit status; 2 means that something given to it cannot work."""
    words = sys.argv[1:] if arguments is None else arguments
    options = None if words[:1] and words[0] in PROGRAMS else build_parser().parse_intermixed_args(words)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        if options is None:
            import_module(PROGRAMS[words[0]]).main(words[1:])
        else:
            add_tables(options.output)
            report(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sasa.report", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("tables", nargs="*", metavar="TABLE", help=f"{', '.join(TABLES)} or all (default: the tables that have runs)")
    add("--scale", help="only the runs at this scale (default: each scale that has runs, a table each)")
    add("--variant", help="only the runs with these overrides, '' for those with none (default: each, a table each)")
    add("--format", default="rich", help=f"{', '.join(FORMATS)} (default: rich)")
    add("--own-costs", action="store_true", help="show the costs of the networks as run, too, on any terminal width")
    add("--output", type=Path, default=Path("outputs"), metavar="DIR", help="where the runs are (default: outputs)")
    add("--to", type=Path, metavar="FILE", help="write to this file instead of the terminal")
    return parser


def report(options: argparse.Namespace) -> None:
    if options.format not in FORMATS:
        raise unknown("format", options.format, FORMATS)
    for name in options.tables:
        if name != "all":
            check_table(name)
    collection = collect_with_shipped(options.output)
    check_settings(options, collection.runs)
    tables = tables_asked_for(options.tables, collection.runs)
    chosen = [comparison for table in tables for comparison in comparisons_of(table, collection.runs, options)]
    if options.to is None:
        write(chosen, options, sys.stdout)
    else:
        write_file(chosen, options)
    if not tables:
        example = command(TABLES["table5"], "glob(*)")
        print(
            f"No runs in {options.output} yet. Start a table, such as {shortcut('table5', example)}.", file=sys.stderr
        )
    print_left_out(collection, Console(stderr=True))


def check_table(name: str) -> None:
    if name not in TABLES:
        raise unknown("table", name, [*TABLES, "all"])


def tables_asked_for(names: list[str], runs: Iterable[Run]) -> list[Table]:
    """Without names, the tables whose own rows were run; if there are none, those that have the runs as their rows."""
    if "all" in names:
        return list(TABLES.values())
    if names:
        return [find_table(name) for name in dict.fromkeys(names)]
    known = [table for table in TABLES.values() if settings(runs, table.name)]
    return [table for table in known if any(run.table == table.name for run in runs)] or known


def check_settings(options: argparse.Namespace, runs: Iterable[Run]) -> None:
    """A scale is known if it has runs or a file in conf/scale; a variant if it has runs."""
    scales = sorted({run.scale for run in runs} | set(files("scale")))
    variants = sorted({"", *(run.variant for run in runs)})
    if options.scale is not None and options.scale not in scales and scales:
        raise unknown("scale", options.scale, scales)
    if options.variant is not None and options.variant not in variants:
        raise unknown("variant", options.variant, variants)


def comparisons_of(table: Table, runs: Iterable[Run], options: argparse.Namespace) -> list[Comparison]:
    """A comparison for each scale and variant that is asked for and has runs; without any, one without runs."""
    wanted = [
        (scale, variant)
        for scale, variant in settings(runs, table.name)
        if options.scale in (None, scale) and options.variant in (None, variant)
    ]
    return [
        compare(table, runs, scale, variant) for scale, variant in wanted or [(options.scale, options.variant or "")]
    ]


def write(comparisons: list[Comparison], options: argparse.Namespace, file: TextIO) -> None:
    if options.format == "rich":
        wide = None if file.isatty() or "COLUMNS" in os.environ else FILE_WIDTH
        console = Console(file=file, width=wide)
        for comparison in comparisons:
            print_comparison(comparison, console, options.own_costs)
    elif options.format == "markdown":
        file.write(markdown(comparisons, options.own_costs))
    elif options.format == "latex":
        file.write(latex(comparisons, options.own_costs))
    elif options.format == "csv":
        file.write(comma_separated(comparisons))
    else:
        file.write(structured(comparisons))
    file.flush()


def write_file(comparisons: list[Comparison], options: argparse.Namespace) -> None:
    text = StringIO()
    write(comparisons, options, text)
    try:
        options.to.parent.mkdir(parents=True, exist_ok=True)
        options.to.write_text(text.getvalue(), encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"cannot write to {options.to}: {error.strerror}") from error
    print(f"wrote {options.to}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
