"""What the dashboard's templates show, made from runs and comparisons."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sasa.records.files import seconds_between
from sasa.records.result import Run
from sasa.report.names import clean
from sasa.report.pages.figures import furthest
from sasa.report.pages.files import Curves, Layer
from sasa.report.paper import MEASURES, Row, published
from sasa.report.tables.compare import Comparison
from sasa.report.tables.layout import Block, Cell, blocks, counted
from sasa.report.tables.terminal import duration
from sasa.report.tables.text import comma_separated, latex, markdown
from sasa.report.verdicts import Verdict

LATEST = 6
FORMATS = {"csv": ("CSV", comma_separated), "tex": ("LaTeX", latex), "md": ("Markdown", markdown)}  # by a file's ending
SIZES = (0.01, 0.03, 0.1)  # a difference, as a share of the published value, that is small, middling, large


@dataclass(frozen=True)
class TableRows:
    """A table to draw: blocks of columns; for each of its rows the cells with their classes, its status and its runs."""

    blocks: list[Block]
    rows: list[tuple[list[tuple[Cell, str]], str, tuple[Run, ...]]]


def table(comparison: Comparison) -> TableRows:
    """Every block of a comparison, with the differences' sizes as classes.

    A line takes one row, or the paper's, ours and the spread over seeds: there our numbers are coloured themselves.
    """
    layout = blocks(comparison)
    height = len(layout[0].rows) // len(comparison.lines)
    rows = []
    for index in range(len(layout[0].rows)):
        line, part = comparison.lines[index // height], index % height
        cells = [
            (cell, classes(block, index, position, part == 1 and (block.title == "costs" or comparison.at_paper_scale)))
            for block in layout
            for position, cell in enumerate(block.rows[index])
        ]
        last = part == height - 1
        rows.append((cells, line.status if last else "above", line.runs if part == min(1, height - 1) else ()))
    return TableRows(layout, rows)


def table_files(comparison: Comparison) -> list[tuple[str, str, str]]:
    """A table as files to save: each format's title, the file's name and its text."""
    name = f"{comparison.table.name}-{plain(comparison.scale or '')}"
    return [(title, f"{name}.{ending}", write([comparison])) for ending, (title, write) in FORMATS.items()]


def classes(block: Block, index: int, position: int, below: bool) -> str:
    """The CSS classes of a cell: its role, how far off it is, and where a block begins.

    `below`: the paper's number stands above it, with no difference beside it, and the two may be compared.
    """
    row = block.rows[index]
    cell = row[position]
    names = ["label" if block.labels else "number"]
    if cell.role:
        names.append(cell.role)
    if position == 0:
        names.append("first")
    if below:
        names.append(off(cell.text, block.rows[index - 1][position].text))
    elif cell.role in ("difference", "deviation"):
        base = next((before for before in row[:position] if before.role == "published"), None)
        names.append(size(cell.text, base.text if base else ""))
    return " ".join(filter(None, names))


def off(own: str, published: str) -> str:
    """The class of a number of ours, perhaps "36.5 ± 0.2 (3)", by its difference from the paper's."""
    try:
        difference = float(own.partition(" ")[0]) - float(published)
    except ValueError:
        return ""
    return f"ours {size(str(difference), published)}"


def size(difference: str, base: str) -> str:
    """The class of a difference: d0 (small) to d3 (large), up or down."""
    try:
        share = float(difference) / abs(float(base))
    except (ValueError, ZeroDivisionError):
        return "d0"
    level = sum(abs(share) >= limit for limit in SIZES)
    return f"d{level} {'up' if share > 0 else 'down'}" if level else "d0"


def results_name(scale: str, variant: str) -> str:
    """The file of the first page at a scale and variant."""
    name, hashed = plain(scale), hashlib.sha256(f"{scale} {variant}".encode()).hexdigest()[:8]
    return f"results-{name}.html" if name == scale and not variant else f"results-{name}-{hashed}.html"


def plain(name: str) -> str:
    """A name with none but letters, digits and signs that file names have."""
    return re.sub(r"[^\w.-]", "_", name)


def scales(
    settings: Mapping[tuple[str, str], int], runs: Iterable[Run], scale: str
) -> list[tuple[str, str, int, bool]]:
    """Name, page (with the overrides that most have), number of runs of each scale, and whether it is the present one."""
    totals = Counter(run.scale for run in runs)
    most: dict[str, tuple[str, str]] = {}
    for setting, count in settings.items():
        if setting[0] not in most or count > settings[most[setting[0]]]:
            most[setting[0]] = setting
    return [(name, results_name(*setting), totals[name], name == scale) for name, setting in most.items()]


def variants(settings: Mapping[tuple[str, str], int], scale: str, variant: str) -> list[tuple[str, str, int, bool]]:
    """The same for the overrides that a scale has runs with."""
    return [
        (other or "as configured", results_name(name, other), runs, other == variant)
        for (name, other), runs in settings.items()
        if name == scale
    ]


def counts(comparisons: Iterable[Comparison]) -> dict[str, int]:
    """How many rows have come how far."""
    lines = Counter(line.status for comparison in comparisons for line in comparison.lines)
    return {status: lines[status] for status in ("finished", "running", "interrupted", "failed", "missing")}


def seeds(comparisons: Iterable[Comparison]) -> Counter[str]:
    """How many runs of any row have come how far, each of them once."""
    runs = {run.folder: run.status for comparison in comparisons for run in comparison.runs}
    return Counter(runs.values())


def reach(verdicts: Iterable[Verdict]) -> int:
    """Where the axis of all verdicts ends on either side, in points: what is further off is cut, with a mark."""
    ends = [1.0]
    for one in (finding for verdict in verdicts for finding in verdict.findings):
        ends += [abs(value) for value in (one.published, one.difference, one.claim.margin) if value is not None]
    return next((end for end in (1, 2, 5) if end >= max(ends)), 10)


def latest(runs: Iterable[Run]) -> list[Run]:
    """The runs in progress, then those that began last; a run that failed before it could begin is none of them."""
    newest = sorted((run for run in runs if run.began), key=lambda run: run.started, reverse=True)
    return sorted(newest, key=lambda run: run.status != "running")[:LATEST]


def result(run: Run, split: str) -> tuple[str, float] | None:
    """What a run came to on a split, such as ("top-1", 51.2), or its AP where it detects objects."""
    scores = run.measured(split)
    return next(((text, scores[name]) for name, text in MEASURES.items() if name in scores), None)


def progress(run: Run, curves: Curves) -> float | None:
    """The share of a run that is done: by its last line of metrics, which comes oftener than an epoch."""
    if not run.epochs:
        return None
    return min(1.0, max(furthest(curves), run.epochs_done or 0) / run.epochs)


def pace(run: Run, left: float | None) -> str:
    """How long a running run has trained, how fast it is, validation included, and how long it will, in words."""
    if not run.heard:
        return ""
    images = run.images.get("train", 0) / run.steps_per_epoch if run.steps_per_epoch else 0
    speed = f"{images / run.seconds_a_step:.0f} images/s" if images and run.seconds_a_step else ""
    told = (
        f"{duration(seconds_between(run.started, run.heard))} so far",
        speed,
        f"about {duration(left)} left" if left is not None else "",
        f"heard of at {run.heard[11:19]}",
    )
    return ", ".join(filter(None, told))


def layer_groups(layers: Iterable[Layer]) -> list[tuple[Layer, list[Layer]]]:
    """The layers by the first part of their names (stem, layer1, ...), with each group's sum."""
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        groups.setdefault(layer.name.split(".")[0], []).append(layer)
    return [
        (Layer(name, "", sum(one.flops for one in members), sum(one.params for one in members)), members)
        for name, members in groups.items()
    ]


def paper_row(run: Run) -> Row | None:
    return published(run.table, run.row) if run.table and run.row else None


def facts(run: Run) -> dict[str, str]:
    """What a run came to, in words, by name."""
    facts = {"status": run.status, "scale": run.scale, "overrides": clean(run.variant), "seed": str(run.seed)}
    for split in run.accuracy:
        for name, value in run.measured(split).items():
            facts[f"{split} {MEASURES.get(name, name.replace('top', 'top-'))}"] = f"{value:.2f}"
    epochs = "" if run.epochs is None else f"{run.epochs_done or 0} of {run.epochs}"
    facts |= {"epochs": epochs, "FLOPs": count(run.flops), "parameters": count(run.params)}
    facts |= {"at the paper's size": f"{count(run.paper_flops)} FLOPs, {count(run.paper_params)} parameters"}
    return facts | {"time": duration(run.seconds), "attention by": run.backend, "device": run.device}


def memory(size: int | None) -> str:
    """Bytes as people say them."""
    return "" if size is None else f"{size / 1e9:.2f} GB"


def count(value: float | None) -> str:
    return counted(value)
