"""The end of one run on a terminal: its result, its costs beside the paper's, where it lies and what to type next."""

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from sasa.report.paper import Row


def print_run(result: dict[str, Any], paper: Row | None, folder: Path, console: Console) -> None:
    """Print the content of result.json; paper is the published row with the same network, if there is one."""
    accuracy, own, full = result["accuracy"], result["costs"], result["paper_costs"]
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in ("FLOPs (G)", "params (M)", "test top-1", "validation top-1"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row(
        "this run",
        f"{own['flops'] / 1e9:.3f}",
        f"{own['params'] / 1e6:.3f}",
        f"[bold green]{accuracy['test']['top1']:.1f} %[/]",
        f"{accuracy['validation']['top1']:.1f} %",
    )
    table.add_row("at the paper's size", f"{full['flops'] / 1e9:.2f}", f"{full['params'] / 1e6:.2f}", "", "")
    if paper is not None:
        top1 = "" if paper.top1 is None else f"{paper.top1:.1f} %"
        table.add_row("the paper (ImageNet)", number(paper.flops), number(paper.params), top1, "", style="dim")
    console.print(table)
    epochs = f"{result['epochs_done']} epoch{'s' if result['epochs_done'] != 1 else ''}"
    time = f"{epochs} of {result['data']} at {result['scale']} scale in {duration(result['seconds'])}"
    console.print(
        f"{time}, {result['images_per_second']:.0f} images/s, attention by {result['backend']}", highlight=False
    )
    if result.get("skipped_images"):
        console.print(
            f"[yellow]{result['skipped_images']} broken images were skipped: see result.json[/]", highlight=False
        )
    here = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    console.print(f"[bold]{escape(str(here))}/[/]", highlight=False, soft_wrap=True, emoji=False)
    console.print(
        "  samples.png, attention.png, result.json, metrics.jsonl, config.json, run.log, checkpoint.pt, ...",
        style="dim",
        highlight=False,
    )


def print_line(title: str, result: dict[str, Any], console: Console) -> None:
    """One line for a row of a sweep."""
    accuracy = result["accuracy"]
    console.print(
        f"[bold]{escape(title)}[/]: top-1 {accuracy['test']['top1']:.1f} % test, "
        f"{accuracy['validation']['top1']:.1f} % validation, {duration(result['seconds'])}",
        highlight=False,
    )


def print_next(console: Console) -> None:
    """What to type after the first run."""
    console.print(
        "\nNext\n"
        "  [bold]make table5[/]                                 a table of the paper at this scale\n"
        "  [bold]python run.py table3=conv1[/]                  one row (python run.py --help lists all)\n"
        "  [bold]make costs[/]                                  every row's FLOPs and parameters beside the paper's\n"
        "  [bold]python run.py table5=none scale=cifar10[/]     the same on CIFAR-10, for one GPU",
        highlight=False,
        soft_wrap=True,
    )


def number(value: float | None) -> str:
    """A published number, or nothing."""
    return "" if value is None else f"{value:.1f}"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
