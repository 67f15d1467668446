"""The end of one run on a terminal: its result, its costs beside the paper's, where it lies and what to type next."""

from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from sasa.records.result import Run
from sasa.report.paper import MEASURES, Row


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
    for name in ("FLOPs (G)", "params (M)", f"test {names[0]}", *names[1:], f"validation {names[0]}"):
        table.add_column(name.replace(" ", space), justify="right", no_wrap=True, vertical="bottom")
    table.add_row(
        "this run",
        f"{own.flops / 1e9:.3f}",
        f"{own.params / 1e6:.3f}",
        f"[bold green]{show(accuracy['test'][measures[0]])}[/]",
        *(show(accuracy["test"][name]) for name in measures[1:]),
        show(accuracy["validation"][measures[0]]),
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
    console.print(f"{time}, {result.images_per_second:.0f} images/s, attention by {result.backend}", highlight=False)
    if result.skipped_images:
        console.print(
            f"[yellow]{result.skipped_images} broken images were skipped: see result.json[/]", highlight=False
        )
    here = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    console.print(f"[bold]{escape(str(here))}/[/]", highlight=False, soft_wrap=True, emoji=False)
    console.print(
        "  samples.png, result.json, metrics.jsonl, costs.json, config.json, run.log, checkpoint.pt, "
        + ("attention.png" if "top1" in measures else "by_class.csv"),
        style="dim",
        highlight=False,
    )


def print_line(title: str, result: Run, console: Console) -> None:
    """One line for a row of a sweep."""
    accuracy = result.accuracy
    measure = next(name for name in MEASURES if name in accuracy["test"])
    console.print(
        f"[bold]{escape(title)}[/]: {MEASURES[measure]} {percent(accuracy['test'][measure])} test, "
        f"{percent(accuracy['validation'][measure])} validation, {duration(result.seconds)}",
        highlight=False,
    )


def print_next(console: Console) -> None:
    """What to type after the first run."""
    console.print(
        "\nNext\n"
        "  [bold]make table5[/]                                 a table of the paper at this scale\n"
        "  [bold]python run.py table3=conv1[/]                  one row (python run.py --help lists all)\n"
        "  [bold]make dashboard[/]                              the results as web pages\n"
        "  [bold]make costs[/]                                  every row's FLOPs and parameters beside the paper's\n"
        "  [bold]python run.py table5=none scale=cifar10[/]     the same on CIFAR-10, for one GPU",
        highlight=False,
        soft_wrap=True,
    )


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
