"""On a terminal: a comparison, the costs of all rows, and the end of one run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from sasa.config import PROGRAM, shortcut
from sasa.records.collect import HIDDEN, Collection, collect
from sasa.records.result import Run
from sasa.report.names import clean, shorten
from sasa.report.paper import MEASURES, TABLES, Row, Table, find_table
from sasa.report.tables.compare import Comparison, command, compare, cost_line
from sasa.report.tables.layout import Block, Cell, blocks
from sasa.report.tables.remarks import remarks

STYLES = {
    "": "",
    "published": "dim",
    "difference": "dim",
    "deviation": "yellow",
    "effect": "",
    "best": "bold green",
    "finished": "dim",
    "missing": "dim",
    "running": "cyan",
    "interrupted": "yellow",
    "failed": "bold red",
}


def print_table(
    table: str,
    scale: str,
    variant: str = "",
    output: Path | str = "outputs",
    console: Console | None = None,
    failures: bool = True,
) -> None:
    """Read `output` and prints one table at one scale and variant. Raises InputError for an unknown table."""
    console = console or Console()
    collection = collect(Path(output))
    print_comparison(compare(find_table(table), collection.runs, scale, variant), console, failures=failures)
    print_left_out(collection, console)


def print_comparison(
    comparison: Comparison, console: Console, own_costs: bool = False, top1: bool = True, failures: bool = True
) -> None:
    """Print the table in the widest layout that the console holds, with its caption and notes below.

    Without `failures` there is no note on a row that failed: its reason is told elsewhere.
    """
    console.print()
    console.print(Text(clean(comparison.table.title), "bold"))
    for frame in fitting(comparison, console, own_costs, top1):
        console.print(frame)
    for remark in remarks(comparison):
        console.print(Text(remark, "dim"))
    if not top1:
        return
    console.print(Text(comparison.caption, "dim"))
    if comparison.runs:
        console.print(Text(comparison.legend, "dim"))
    for line in comparison.lines:
        present = {run.status for run in line.runs}
        worst = next((status for status in ("failed", "interrupted", "running") if status in present), "finished")
        for note in line.notes if failures or worst != "failed" else ():
            console.print(Padding(Text(shorten(note), STYLES[worst]), (0, 0, 0, 2)))
    if comparison.hint:
        console.print(Padding(Text(comparison.hint), (0, 0, 0, 2)))


def print_left_out(collection: Collection, console: Console, most: int = 5) -> None:
    """What of an output folder no table shows: files that could not be used, and runs that are hidden."""
    for warning in collection.warnings[:most]:
        console.print(Text(f"warning: {shorten(clean(warning))}", "yellow"))
    if len(collection.warnings) > most:
        console.print(Text(f"warning: and {len(collection.warnings) - most} more", "yellow"))
    if collection.hidden:
        console.print(Text(hidden(collection.hidden), "dim"))


def hidden(runs: Sequence[Run]) -> str:
    """That runs are left out, and by what."""
    count = f"{len(runs)} run{' is' if len(runs) == 1 else 's are'}"
    return f"{count} hidden, by a file named {HIDDEN} in the run's folder"


def fitting(comparison: Comparison, console: Console, own_costs: bool, top1: bool) -> list[RichTable]:
    """The first layout that the console holds, from roomy to narrow; else its blocks in tables below each other."""

    def holds(frame: RichTable) -> bool:
        return console.measure(frame, options=console.options.update(width=1000)).maximum <= console.width

    layouts = [(True, own_costs or bool(comparison.runs), 2)]
    layouts += [(differences, own_costs, gap) for differences in (True, False) for gap in (2, 1)]
    for differences, own, gap in layouts:
        frame = framed(blocks(comparison, top1=top1, cost_differences=differences, own_costs=own), gap)
        if holds(frame):
            return [frame]
    labels, *others = blocks(comparison, top1=top1, own_costs=own_costs)
    parts: list[list[Block]] = []
    for block in others:
        if parts and holds(framed([*parts[-1], block], gap=1)):
            parts[-1].append(block)
        else:
            parts.append([labels, block])
    return [framed(told(part), gap=1) for part in parts]


def told(part: list[Block]) -> list[Block]:
    """Blocks without the rows that have nothing in these, such as the spread of costs."""
    rows = list(zip(*(block.rows for block in part), strict=True))
    kept = [row for row in rows if row[0][0].text or any(cell.text for cells in row[1:] for cell in cells)]
    return [replace(block, rows=rows) for block, rows in zip(part, zip(*kept, strict=True), strict=True)]


def framed(layout: list[Block], gap: int) -> RichTable:
    """One cell a block, so that the title above it spans the block's columns. Labels give way before numbers do."""
    frame = RichTable(box=box.ROUNDED, border_style="dim", padding=(0, 1))
    for block in layout:
        title = Text(block.title, "bold", justify="center")
        frame.add_column(Group(title, grid(block, [header(block)], gap)), no_wrap=not block.labels)
    frame.add_row(*(grid(block, block.rows, gap) for block in layout))
    return frame


def grid(block: Block, rows: Iterable[Sequence[Cell]], gap: int) -> RichTable:
    """`rows` under the widths that the whole block needs."""
    table = RichTable(box=None, show_header=False, padding=(0, gap, 0, 0), pad_edge=False)
    for cells in zip(header(block), *block.rows, strict=True):
        width = max(cell_len(cell.text) for cell in cells)
        table.add_column(justify="left" if block.labels else "right", width=width, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell.text, STYLES[cell.role]) for cell in row))
    return table


def header(block: Block) -> list[Cell]:
    return [Cell(header, "published") for header in block.headers]


def costs_table(costs: Mapping[tuple[str, str], tuple[float, float]], console: Console | None = None) -> None:
    """Print every table's costs. `costs`: {(table, row): (FLOPs, parameters)}, plain counts at the paper's size.

    Tables without a row in `costs` are left out; a row that is not in `costs` shows the published numbers alone.
    """
    console = console or Console()
    shown = [compare_costs(table, costs) for table in TABLES.values() if any(name == table.name for name, _ in costs)]
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
        Text.assemble("largest deviations: ", largest(flops, "G of FLOPs"), "; ", largest(params, "M parameters"))
    )


def compare_costs(table: Table, costs: Mapping[tuple[str, str], tuple[float, float]]) -> Comparison:
    names = {row.name for row in table.rows}
    own = [
        Row(row, (row, *[""] * (len(table.columns) - 1)))
        for name, row in costs
        if name == table.name and row not in names
    ]
    rows = [*table.rows, *own]
    lines = [cost_line(row, *costs.get((table.name, row.name), (None, None))) for row in rows]
    return Comparison(table, None, "", tuple(lines))


def largest(differences: list[tuple[float, float, str]], unit: str) -> tuple[str, str]:
    """Of (difference, tolerance, row), the largest difference for its tolerance."""
    if not differences:
        return f"no {unit} to compare", "dim"
    difference, tolerance, where = max(differences, key=lambda item: abs(item[0]) / item[1])
    within = round(abs(difference), 2) <= tolerance
    return f"{difference:+.2f} {unit} ({where})", "green" if within else "bold yellow"


def print_run(result: Run, paper: Row | None, folder: Path, console: Console) -> None:
    """Print a finished run; paper is the published row with the same network, if there is one."""
    accuracy, own, full = result.accuracy, result.costs, result.paper_costs
    assert own is not None
    assert full is not None
    measures = [name for name in MEASURES if name in accuracy["test"]]
    names = [MEASURES[name] for name in measures]
    # Several measures, in 80 columns: headings of two lines, and the unit stands once.
    space, padding, show = ("\n", 0, bare) if names[1:] else (" ", 1, percent)
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, padding))
    table.add_column("results in %" if names[1:] else "", no_wrap=True, vertical="bottom")
    held_out = [f"validation {names[0]}"] if "validation" in accuracy else []
    for name in ("FLOPs (G)", "params (M)", f"test {names[0]}", *names[1:], *held_out):
        table.add_column(name.replace(" ", space), justify="right", no_wrap=True, vertical="bottom")
    table.add_row(
        "this run",
        f"{own.flops / 1e9:.3f}",
        f"{own.params / 1e6:.3f}",
        f"[bold green]{show(accuracy['test'][measures[0]])}[/]",
        *(show(accuracy["test"][name]) for name in measures[1:]),
        *(show(accuracy["validation"][measures[0]]) for _ in held_out),
    )
    table.add_row("at the paper's size", f"{full.flops / 1e9:.2f}", f"{full.params / 1e6:.2f}")
    if paper is not None:
        published = [paper.published(name) for name in measures]
        results = ["" if value is None else show(value) for value in published]
        data = "ImageNet" if "top1" in measures else "COCO"
        table.add_row(f"the paper ({data})", number(paper.flops), number(paper.params), *results, style="dim")
    console.print(table)
    epochs = f"{result.epochs_done} epoch{'s' if result.epochs_done != 1 else ''}"
    time = f"{epochs} of {result.data} at {result.scale} scale in {duration(result.seconds)}"
    console.print(f"{time}, {result.images_per_second:.0f} images/s, attention by {result.backend}")
    if result.skipped_images:
        console.print(f"[yellow]{result.skipped_images} broken images were skipped: see result.json[/]")
    here = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    console.print(f"[bold]{escape(str(here))}/[/]")
    console.print(
        "  samples.png, result.json, metrics.jsonl, costs.json, config.json, run.log, checkpoint.pt, weights.safetensors, "
        + ("attention.png" if "top1" in measures else "by_class.csv"),
        style="dim",
    )


def print_line(title: str, result: Run, console: Console) -> None:
    """One line for a row of a sweep."""
    accuracy = result.accuracy
    measure = next(name for name in MEASURES if name in accuracy["test"])
    splits = (f"{percent(accuracy[split][measure])} {split}" for split in ("test", "validation") if split in accuracy)
    console.print(f"[bold]{escape(title)}[/]: {MEASURES[measure]} {', '.join(splits)}, {duration(result.seconds)}")


def print_next(console: Console) -> None:
    """What to type after the first run."""
    ways = {
        shortcut("table5", command(TABLES["table5"], "glob(*)")): "a table of the paper at this scale",
        f"{PROGRAM} table3=conv1": f"one row ({PROGRAM} --help lists all)",
        shortcut("dashboard", "python -m sasa.report dashboard"): "the results as web pages",
        shortcut("costs", "python -m sasa.cost"): "every row's FLOPs and parameters beside the paper's",
        f"{PROGRAM} table5=none scale=cifar10": "the same on CIFAR-10, for one GPU",
    }
    wide = max(map(len, ways))
    console.print("\nNext")
    for way, what in ways.items():
        console.print(f"  [bold]{way}[/]{' ' * (wide - len(way))}     {what}")


def percent(value: float | None) -> str:
    """A result; a dash where there was nothing to measure."""
    return "-" if value is None else f"{value:.1f} %"


def bare(value: float | None) -> str:
    """The same without its unit."""
    return percent(value).removesuffix(" %")


def number(value: float | None) -> str:
    """A published number, or nothing."""
    return "" if value is None else f"{value:.1f}"


def duration(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
