"""A comparison on a terminal."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from sasa.records.collect import collect
from sasa.report.blocks import Block, Cell, blocks
from sasa.report.names import clean, shorten
from sasa.report.paper import find_table
from sasa.report.tables import Comparison, compare

STYLES = {
    "": "",
    "published": "dim",
    "difference": "dim",
    "deviation": "yellow",
    "best": "bold green",
    "finished": "dim",
    "missing": "dim",
    "running": "cyan",
    "interrupted": "yellow",
    "failed": "bold red",
}


def print_table(
    table: str, scale: str, variant: str = "", output: Path | str = "outputs", console: Console | None = None
) -> None:
    """Reads `output` and prints one table at one scale and variant. Raises InputError for an unknown table."""
    console = console or Console()
    collection = collect(Path(output))
    print_comparison(compare(find_table(table), collection.runs, scale, variant), console)
    print_warnings(collection.warnings, console)


def print_comparison(comparison: Comparison, console: Console, own_costs: bool = False, top1: bool = True) -> None:
    """Prints the table in the widest layout that the console holds, with its caption and notes below."""
    console.print()
    console.print(Text(clean(comparison.table.title), "bold"))
    console.print(_fitting(comparison, console, own_costs, top1))
    if comparison.table.note:
        console.print(Text(comparison.table.note, "dim"))
    if not top1:
        return
    console.print(Text(comparison.caption, "dim"))
    if comparison.runs:
        console.print(Text(comparison.legend, "dim"))
    for line in comparison.lines:
        present = {run.status for run in line.runs}
        worst = next((status for status in ("failed", "interrupted", "running") if status in present), "finished")
        for note in line.notes:
            console.print(Padding(Text(shorten(note), STYLES[worst]), (0, 0, 0, 2)))
    if comparison.hint:
        console.print(Padding(Text(comparison.hint), (0, 0, 0, 2)))


def print_warnings(warnings: Iterable[str], console: Console, most: int = 5) -> None:
    found = list(warnings)
    for warning in found[:most]:
        console.print(Text(f"warning: {shorten(clean(warning))}", "yellow"))
    if len(found) > most:
        console.print(Text(f"warning: and {len(found) - most} more", "yellow"))


def _fitting(comparison: Comparison, console: Console, own_costs: bool, top1: bool) -> RichTable:
    """The first layout that the console holds, from roomy to narrow; labels and one block if it holds none."""
    layouts = [(True, own_costs or bool(comparison.runs), 2)]
    layouts += [(differences, own_costs, gap) for differences in (True, False) for gap in (2, 1)]
    unlimited = console.options.update(width=1000)
    for differences, own, gap in layouts:
        frame = _frame(blocks(comparison, top1=top1, cost_differences=differences, own_costs=own), gap)
        if console.measure(frame, options=unlimited).maximum <= console.width:
            return frame
    labels, *_, last = blocks(comparison, top1=top1)
    return _frame([labels, last], gap=1)


def _frame(layout: list[Block], gap: int) -> RichTable:
    """One cell a block, so that the title above it spans the block's columns. Labels give way before numbers do."""
    frame = RichTable(box=box.ROUNDED, border_style="dim", padding=(0, 1))
    for block in layout:
        title = Text(block.title, "bold", justify="center")
        frame.add_column(Group(title, _grid(block, [_header(block)], gap)), no_wrap=not block.labels)
    frame.add_row(*(_grid(block, block.rows, gap) for block in layout))
    return frame


def _grid(block: Block, rows: Iterable[Sequence[Cell]], gap: int) -> RichTable:
    """`rows` under the widths that the whole block needs."""
    table = RichTable(box=None, show_header=False, padding=(0, gap, 0, 0), pad_edge=False)
    for cells in zip(_header(block), *block.rows, strict=True):
        width = max(cell_len(cell.text) for cell in cells)
        table.add_column(justify="left" if block.labels else "right", width=width, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell.text, STYLES[cell.role]) for cell in row))
    return table


def _header(block: Block) -> list[Cell]:
    return [Cell(header, "published") for header in block.headers]
