"""FLOPs and parameters of all rows beside the published ones."""

from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from sasa.report.paper import TABLES, Row, Table
from sasa.report.tables import Comparison, cost_line
from sasa.report.terminal import print_comparison


def costs_table(costs: Mapping[tuple[str, str], tuple[float, float]], console: Console | None = None) -> None:
    """Prints every table's costs. `costs`: {(table, row): (FLOPs, parameters)}, plain counts at the paper's size.

    Tables without a row in `costs` are left out; a row that is not in `costs` shows the published numbers alone.
    """
    console = console or Console()
    shown = [_comparison(table, costs) for table in TABLES.values() if any(name == table.name for name, _ in costs)]
    for comparison in shown:
        print_comparison(comparison, console, top1=False)
    console.print()
    sizes = "; ".join(dict.fromkeys(comparison.table.size for comparison in shown))
    console.print(Text(f"FLOPs count a multiply-add as 2; images of {sizes}. diff = ours - paper.", "dim"))
    flops, params = [], []
    for comparison in shown:
        table = comparison.table
        for line in comparison.lines:
            where = f"{table.name} {line.row}"
            if line.flops_difference is not None:
                flops.append((line.flops_difference, table.flops_tolerance, where))
            if line.params_difference is not None:
                params.append((line.params_difference, table.params_tolerance, where))
    console.print(
        Text.assemble("largest deviations: ", _largest(flops, "G of FLOPs"), "; ", _largest(params, "M parameters"))
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


def _largest(differences: list[tuple[float, float, str]], unit: str) -> tuple[str, str]:
    """Of (difference, tolerance, row), the largest difference for its tolerance."""
    if not differences:
        return f"no {unit} to compare", "dim"
    difference, tolerance, where = max(differences, key=lambda item: abs(item[0]) / item[1])
    within = round(abs(difference), 2) <= tolerance
    return f"{difference:+.2f} {unit} ({where})", "green" if within else "bold yellow"
