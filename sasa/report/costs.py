"""FLOPs and parameters of all rows beside the published ones."""

from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from sasa.report.paper import FLOPS_TOLERANCE, PARAMS_TOLERANCE, TABLES, Row, Table
from sasa.report.tables import Comparison, Line, cost_line
from sasa.report.terminal import print_comparison


def costs_table(costs: Mapping[tuple[str, str], tuple[float, float]], console: Console | None = None) -> None:
    """Prints every table's costs. `costs`: {(table, row): (FLOPs, parameters)}, plain counts at the paper's size.

    Tables without a row in `costs` are left out; a row that is not in `costs` shows the published numbers alone.
    """
    console = console or Console()
    shown = [_comparison(table, costs) for table in TABLES.values() if any(name == table.name for name, _ in costs)]
    for comparison in shown:
        print_comparison(comparison, console, top1=False)
    lines = [(comparison.table.name, line) for comparison in shown for line in comparison.lines]
    console.print()
    console.print(Text("FLOPs count a multiply-add as 2; 224x224 images, 1000 classes. diff = ours - paper.", "dim"))
    flops = [(line.flops_difference, _where(table, line)) for table, line in lines if line.flops_difference is not None]
    params = [
        (line.params_difference, _where(table, line)) for table, line in lines if line.params_difference is not None
    ]
    console.print(
        Text.assemble(
            "largest deviations: ",
            _largest(flops, "G of FLOPs", FLOPS_TOLERANCE),
            "; ",
            _largest(params, "M parameters", PARAMS_TOLERANCE),
        )
    )


def _comparison(table: Table, costs: Mapping[tuple[str, str], tuple[float, float]]) -> Comparison:
    names = {row.name for row in table.rows}
    own = [
        Row(row, (row, *[""] * (len(table.columns) - 1)))
        for name, row in costs
        if name == table.name and row not in names
    ]
    rows = [*table.rows, *own]
    lines = [cost_line(row, *costs.get((table.name, row.name), (None, None))) for row in rows]
    return Comparison(table, None, "", tuple(lines))


def _largest(differences: list[tuple[float, str]], unit: str, tolerance: float) -> tuple[str, str]:
    if not differences:
        return f"no {unit} to compare", "dim"
    difference, where = max(differences, key=lambda pair: abs(pair[0]))
    within = round(abs(difference), 2) <= tolerance
    return f"{difference:+.2f} {unit} ({where})", "green" if within else "bold yellow"


def _where(table: str, line: Line) -> str:
    return f"{table} {line.row}"
