"""The figures as plain data: series of points with what they say when pointed at. templates/charts.js draws them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sasa.report.collect import Run
from sasa.report.curves import Curves, short
from sasa.report.details import run_id
from sasa.report.names import clean
from sasa.report.tables import Comparison, Line

PAPER_SCALE = "imagenet"  # where published and own accuracy share an axis; elsewhere each has its own panel
TOP1 = "top-1 (%)"
FLOPS, PARAMS, EXTENT = "FLOPs (G, at the paper's size)", "parameters (M, at the paper's size)", "spatial extent k"
BY_NETWORK = ("table1", "figure5")  # tables whose first column names a curve

Figure = dict[str, Any]


def figures(comparison: Comparison) -> list[Figure]:
    """A table's panels: top-1 against k, against costs, or row by row; the paper's beside ours."""
    name = comparison.table.name
    if name == "table4":
        axes: list[tuple[str, Callable[[Line, bool], float | None]]] = [(EXTENT, lambda line, _: extent(line))]
    elif name in (*BY_NETWORK, "table3"):
        axes = [(FLOPS, flops), (PARAMS, params)]
    else:
        axes = [("", lambda line, _: float(comparison.lines.index(line)))]
    return [panel for title, x in axes for panel in panels(comparison, title, x)]


def panels(comparison: Comparison, title: str, x: Callable[[Line, bool], float | None]) -> list[Figure]:
    """One figure's panels: together at the paper's scale, else the paper's, if it prints most of them, and ours."""
    paper = series(comparison, x, published=True)
    own = series(comparison, x, published=False)
    printed = sum(len(found["points"]) for found in paper)
    ticks = [] if title else [[index, label(line)] for index, line in enumerate(comparison.lines)]
    common: Figure = {"kind": "points", "x": title, "y": TOP1, "ticks": ticks}
    if comparison.scale == PAPER_SCALE:
        return [{**common, "title": "paper (hollow) and ours", "series": paper + own}]
    found = [{**common, "title": "paper, ImageNet", "series": paper}] if 2 * printed >= len(comparison.lines) else []
    if any(one["points"] for one in own):
        found.append({**common, "title": f"ours, {comparison.scale}", "series": own})
    return found


def series(comparison: Comparison, x: Callable[[Line, bool], float | None], published: bool) -> list[dict[str, Any]]:
    """A series a network where the first column names one, else one series for the table."""
    by_network = comparison.table.name in BY_NETWORK
    names = list(dict.fromkeys(line.cells[0] for line in comparison.lines)) if by_network else [comparison.table.name]
    found = []
    for index, name in enumerate(names):
        lines = [line for line in comparison.lines if not by_network or line.cells[0] == name]
        points = [point(line, place, published) for line in lines if (place := x(line, published)) is not None]
        kept = [one for one in points if one["y"] is not None]
        shown = (f"{name}, paper" if by_network else "paper") if published else (name if by_network else "ours")
        found.append(
            {
                "name": clean(shown),
                "colour": index,
                "hollow": published,
                "joined": by_network or comparison.table.name == "table4",
                "points": kept,
            }
        )
    return found


def point(line: Line, x: float, published: bool) -> dict[str, Any]:
    """A row as a point, with its spread over seeds."""
    y, spread = (line.top1_published, None) if published else (line.top1, line.top1_deviation)
    seeds = "" if published or not line.seeds else f", {line.seeds} seed{'s' if line.seeds > 1 else ''}"
    return {"x": x, "y": y, "spread": spread, "label": label(line) + seeds, "run": link(line.runs, published)}


def link(runs: Sequence[Run], published: bool) -> str | None:
    return None if published or not runs else run_id(runs[0])


def label(line: Line) -> str:
    return clean(" / ".join(cell for cell in line.cells if cell))


def extent(line: Line) -> float | None:
    return float(line.cells[0]) if line.cells[0].isdigit() else None


def flops(line: Line, published: bool) -> float | None:
    return line.flops_published if published else line.flops


def params(line: Line, published: bool) -> float | None:
    return line.params_published if published else line.params


def all_runs(runs: Iterable[Run]) -> list[Figure]:
    """Test top-1 of every finished run against its costs, a series a table."""
    tables: dict[str, list[Run]] = {}
    for run in runs:
        if run.status == "finished" and "top1" in run.accuracy.get("test", {}):
            tables.setdefault(run.table or "other runs", []).append(run)
    found = []
    for title, unit, cost in ((FLOPS, 1e9, "paper_flops"), (PARAMS, 1e6, "paper_params")):
        groups = [
            {
                "name": clean(name),
                "colour": index,
                "hollow": False,
                "joined": False,
                "points": [
                    {
                        "x": getattr(run, cost) / unit,
                        "y": run.accuracy["test"]["top1"],
                        "spread": None,
                        "label": name_of(run),
                        "run": run_id(run),
                    }
                    for run in tables[name]
                    if getattr(run, cost) is not None
                ],
            }
            for index, name in enumerate(sorted(tables))
        ]
        found.append({"kind": "points", "title": "", "x": title, "y": "test top-1 (%)", "ticks": [], "series": groups})
    return found if tables else []


def title_of(run: Run) -> str:
    """A run's row and seed: "table4=k3 seed 1"."""
    row = f"{run.table}={run.row}" if run.table and run.row else "run"
    return clean(f"{row} seed {run.seed}")


def name_of(run: Run) -> str:
    """A run as people call it: "table4=k3 seed 1, train.epochs=2"."""
    return title_of(run) + (f", {clean(run.variant)}" if run.variant else "")


def learning(comparison: Comparison, curves: Mapping[str, Curves]) -> Figure | None:
    """The learning curves of a table's rows together, the mean over seeds of a row; `curves` by run folder."""
    found = []
    looks = appearance(comparison)
    for index, line in enumerate(comparison.lines):
        together: dict[str, list[Run]] = {}  # the runs of a row that have come as far as each other
        for run in line.runs:
            if found_curves := curves.get(run.folder):
                together.setdefault(str([(len(x), x[-1]) for x in xs(found_curves)]), []).append(run)
        for runs in together.values():
            seeds = " ".join(str(run.seed) for run in runs)
            found.append(
                {
                    "name": label(line),
                    "label": f"{label(line)}, seed{'s' if len(runs) > 1 else ''} {seeds}",
                    "colour": looks[index][0],
                    "dash": looks[index][1],
                    "run": run_id(runs[0]),
                    "curves": mean_curves([curves[run.folder] for run in runs]),
                }
            )
    return {"kind": "lines", "series": found} if found else None


def appearance(comparison: Comparison) -> list[tuple[int, int]]:
    """Colour and dash of each row: where the first column names a network, the colour is its, and the dash the row's."""
    if comparison.table.name not in BY_NETWORK:
        return [(index % 8, index // 8) for index in range(len(comparison.lines))]
    names = [line.cells[0] for line in comparison.lines]
    order = list(dict.fromkeys(names))
    return [(order.index(name), names[:index].count(name)) for index, name in enumerate(names)]


def xs(curves: Curves) -> list[list[float | None]]:
    return [split["x"] for split in curves.values()]


def mean_curves(found: Sequence[Curves]) -> Curves:
    """The mean of curves with the same places in time, of what all of them have."""
    means: Curves = {}
    for split, first in found[0].items():
        columns = {
            name: [one[split][name] for one in found] for name in first if all(name in one[split] for one in found)
        }
        means[split] = {name: [mean(values) for values in zip(*lists, strict=True)] for name, lists in columns.items()}
    return means


def mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return short(sum(known) / len(known)) if len(known) == len(values) else None
