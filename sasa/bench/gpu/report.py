"""What the parts told: a JSON file that is written anew whenever rows come, and the tables made of it."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from sasa.bench.detectors import BASELINE as DETECTOR
from sasa.bench.gpu.operations import OURS
from sasa.bench.gpu.runner import Outcome, Row
from sasa.bench.models import BASELINE as CLASSIFIER
from sasa.records.files import write_atomically

WIDTH = 120


@dataclass
class Report:
    """Conditions, how parts ended, and their rows."""

    file: Path  # of the JSON; the tables lie beside it as text
    conditions: dict[str, Any]
    parts: list[Outcome] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def tell(self, name: str, rows: list[Row]) -> None:
        """Add rows of a part, to the file too: nothing that came is lost."""
        self.rows += [{"part": name, **row} for row in rows]
        self.save()

    def end(self, outcome: Outcome) -> None:
        """Add how a part ended."""
        self.parts.append(outcome)
        self.save()

    def save(self) -> None:
        """Write both files."""
        content = {"conditions": self.conditions, "parts": [asdict(x) for x in self.parts], "rows": self.rows}
        write_atomically(self.file, json.dumps(content, indent=1).encode() + b"\n")
        console = Console(file=StringIO(), width=WIDTH, markup=False, highlight=False)
        self.print(console)
        write_atomically(self.file.with_suffix(".txt"), console.file.getvalue().encode())  # type: ignore[attr-defined]

    @property
    def failed(self) -> list[str]:
        """Parts that did not come to their end, and kernels that are not exact."""
        ended = [x.name for x in self.parts if x.state not in ("done", "skipped")]
        return ended + [f"{x['kernel']} {x['case']} {x['dtype']}" for x in self.of("exactness") if wrong(x)]

    def of(self, table: str) -> list[Row]:
        """The rows of a table; those that were told while things were compiled are none."""
        measured = [x for x in self.rows if not x["part"].startswith("compile ")]
        return [x for x in measured if x.get("table", "exactness") == table]

    def print(self, console: Console) -> None:
        """All tables that have rows."""
        console.print(", ".join(f"{x} {y}" for x, y in self.conditions.items()))
        for row in self.of("rates"):
            told = f"{row['bytes'] / 1e12:.3g} TB/s of memory, {row['exponentials'] / 1e12:.3g} T exponentials/s"
            console.print(f"measured: {told}")
        for table in (
            self.exactness(),
            self.maps(),
            self.bounds(),
            self.variants(),
            self.networks("stems", "Stems, forward and backward", "convolution"),
            self.networks("networks", "Training steps of classifiers", CLASSIFIER),
            self.networks("detectors", "Training steps of detectors", DETECTOR),
            self.kernels(),
            self.training(),
            self.ended(),
        ):
            if table.row_count:
                console.print(table)

    def ended(self) -> Table:
        """How each part ended."""
        grid = made("Parts", "part|state", "s|limit", "said")
        for x in self.parts:
            grid.add_row(x.name, x.state, f"{x.seconds:.0f}", f"{x.limit:.0f}", x.said)
        return grid

    def exactness(self) -> Table:
        """By kernel and dtype how many cases are exact, and the one that is furthest off."""
        title = "Against float64: the largest error, as a share of what is allowed"
        grid = made(title, "kernel|dtype", "exact|error", "worst case")
        rows = self.of("exactness")
        for kernel, dtype in dict.fromkeys((x["kernel"], x["dtype"]) for x in rows):
            here = [x for x in rows if (x["kernel"], x["dtype"]) == (kernel, dtype)]
            counts = Counter(wrong(x) for x in here)
            worst = max(here, key=lambda x: (bool(wrong(x)), x.get("of_allowed") or 0.0))
            told = f"{worst['case']}: {wrong(worst) or worst['worst']}"
            exact = f"{counts['']}/{len(here)}"
            grid.add_row(kernel, dtype, exact, number(worst.get("of_allowed"), 3), told)
        return grid

    def maps(self) -> Table:
        """Each contender at each map, and how much faster ours is."""
        title = "Local attention, k = 7, 8 heads: ms of its kernels on the device"
        rows = self.of("maps")
        grid = made(title, "map|contender", "forward|both|MB|ours is")
        grid.caption = "\n".join(["both, and the ratio: forward and backward", *failures(rows)])
        for row in rows:
            own = next(x for x in rows if x["shape"] == row["shape"] and x["contender"] == OURS)
            times = [number(row.get(x), 3) for x in ("forward_device_ms", "both_device_ms")]
            faster = ratio(row.get("both_device_ms"), own.get("both_device_ms"))
            grid.add_row(row["shape"], row["contender"], *times, number(row["peak_mb"], 0), faster)
        return grid

    def bounds(self) -> Table:
        """How near ours comes to what the device's memory and its exponentials allow."""
        title = "Ours: the least time of its bytes, and of its exponentials, as shares of its time"
        grid = made(title, "what", "bytes|exp.|bytes, both|exp., both")
        names = [f"{phase}_of_{what}" for phase in ("forward", "both") for what in ("bytes", "exponentials")]
        for row in [*self.of("maps"), *self.of("stems")]:
            if "both_of_bytes" in row:
                what = row.get("shape") or f"stem, {row['network']}"
                grid.add_row(what, *(f"{row[x]:.1%}" if x in row else "" for x in names))
        return grid

    def variants(self) -> Table:
        """Which variant was picked for each of our kernels at each map, and the times that it was picked by."""
        grid = made("Variants of our kernels, as timed before the first call", "map|kernel|picked", "ms", "ms of each")
        for row in self.of("variants"):
            times = row["milliseconds"]
            picked = min(times, key=lambda x: float("inf") if times[x] is None else times[x])
            each = "; ".join(f"{x} {number(ms, 3) or 'failed'}" for x, ms in times.items())
            grid.add_row(row["shape"], row["kernel"], picked, number(times[picked], 3), each)
        return grid

    def networks(self, table: str, title: str, first: str) -> Table:
        """Steps of one kind of network, as a ratio to the first one's that is not compiled."""
        rows = self.of(table)
        grid = made(title, "network|compiled", "ms|busy|images/s|MB|speed")
        told = f"busy: ms of kernels on the device; speed: by {first}, not compiled"
        grid.caption = "\n".join([told, *failures(rows)])
        base = next((x["step_ms"] for x in rows if x["network"] == first and not x.get("compiled")), None)
        for row in rows:
            grid.add_row(
                row["network"],
                "yes" if row.get("compiled") else "",
                number(row["step_ms"], 1),
                number(row.get("device_ms", row.get("both_device_ms")), 1),
                number(row["images_a_second"], 0),
                number(row["peak_mb"], 0),
                ratio(base, row["step_ms"]),
            )
        return grid

    def kernels(self) -> Table:
        """The largest kernels of each network's step."""
        grid = made("Kernels that take longest, ms a step", "network|compiled", "ms|share", "kernel")
        for row in [*self.of("networks"), *self.of("detectors")]:
            for place, (name, ms) in enumerate(row.get("kernels", [])):
                network, compiled = (row["network"], "yes" if row["compiled"] else "") if not place else ("", "")
                grid.add_row(network, compiled, number(ms, 3), f"{ms / row['device_ms']:.0%}", name[:70])
        return grid

    def training(self) -> Table:
        """The run's evaluations."""
        grid = made(
            "Training on CIFAR-10, table1=conv_stem_50 scale=cifar10_small", "split|epoch", "s|loss|top-1|images/s"
        )
        for row in self.of("training"):
            cells = [number(row[x], digits) for x, digits in (("seconds", 0), ("loss", 3), ("top1", 2))]
            grid.add_row(row["split"], str(row["epoch"]), *cells, number(row.get("images_a_second"), 0))
        return grid


def failures(rows: list[Row]) -> list[str]:
    """A line for each row that could not be measured."""
    return [f"{x.get('contender', x.get('network'))}: {x['failure']}" for x in rows if x["failure"]]


def wrong(row: Row) -> str:
    """What is wrong with a row of exactness; empty if nothing is."""
    if row["failure"]:
        return row["failure"].splitlines()[0]
    if row["of_allowed"] is None or row["of_allowed"] > 1:
        return f"{row['worst']} is not exact"
    return "" if row["same_again"] else "other bits the second time"


def made(title: str, left: str, right: str, last: str | None = None) -> Table:
    """An empty table: columns of names, of numbers, and one whose text may take several lines."""
    grid = Table(title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in left.split("|"):
        grid.add_column(name, no_wrap=True)
    for name in right.split("|"):
        grid.add_column(name, justify="right", no_wrap=True)
    if last:
        grid.add_column(last, overflow="fold")
    return grid


def number(x: float | None, digits: int) -> str:
    return "" if x is None else f"{x:.{digits}f}"


def ratio(x: float | None, y: float | None) -> str:
    return f"{x / y:.2f}x" if x and y else ""
