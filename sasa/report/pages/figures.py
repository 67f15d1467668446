"""The figures as plain data: points and curves with what they say when pointed at. charts.py has how they are drawn."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sasa.records.result import Run
from sasa.report.names import clean
from sasa.report.pages.files import Curves, run_id
from sasa.report.paper import MEASURES
from sasa.report.tables.compare import Comparison, Line
from sasa.report.tables.layout import signed

FLOPS, PARAMS, EXTENT = "FLOPs (G, at the paper's size)", "parameters (M, at the paper's size)", "spatial extent k"
GRIDS = ("table1", "table2", "figure5")  # tables whose first column names a series, and the last one its points
BY_COSTS = (*GRIDS, "table3")
JOINED = ("table1", "table4", "figure5")

Figure = dict[str, Any]
Place = Callable[[Line, bool], float | str | None]  # where a row stands on an axis, as published or as run


def figures(comparison: Comparison) -> list[Figure]:
    """A table's panels: gains over its row of reference, then its first measure against k, against costs, or row by row."""
    return gains(comparison) + levels(comparison)


def gains(comparison: Comparison) -> list[Figure]:
    """What each row gains over its row of reference, the paper's and ours on one axis, with our intervals."""
    points = [
        gain_point(comparison, line, published)
        for line in comparison.lines
        for published in (True, False)
        if line.effect and (line.effect.published if published else line.effect.value) is not None
    ]
    if all(point["source"] == "paper" for point in points):
        return []
    caption = f"gain over {comparison.table.over}, paper (hollow) and ours with 95 % intervals"
    x = f"points of {MEASURES[comparison.table.measures[0]]}"
    return [{"kind": "rows", "title": caption, "x": x, "y": None, "values": points, "wide": True}]


def gain_point(comparison: Comparison, line: Line, published: bool) -> dict[str, Any]:
    """A row's gain as a point, ours with its interval."""
    effect = line.effect
    assert effect is not None
    gain = effect.published if published else effect.value
    low, high = (gain, gain) if published or effect.low is None else (effect.low, effect.high)
    interval = "" if low == high else f" [{signed(low, 2)}, {signed(high, 2)}]"
    source = "paper" if published else "ours"
    mark = {
        "x": gain,
        "y": label(line),
        "low": low,
        "high": high,
        "series": series_of(comparison, line),
        "source": source,
        "label": f"{source}: {label(line)}" + ("" if published else seeds(line.seeds)),
        "result": f"{signed(gain, 1 if published else 2)}{interval} over {comparison.table.over}",
        "costs": "",
    }
    return mark if published or not line.runs else mark | {"run": run_id(line.runs[0])}


def levels(comparison: Comparison) -> list[Figure]:
    """The results themselves."""
    name = comparison.table.name
    if name == "table4":
        return panels(comparison, EXTENT, lambda line, _: extent(line)) + panels(comparison, FLOPS, flops)
    if name in BY_COSTS:
        return panels(comparison, FLOPS, flops) + panels(comparison, PARAMS, params)
    return panels(comparison, None, lambda line, _: label(line))


def panels(comparison: Comparison, title: str | None, place: Place) -> list[Figure]:
    """One figure's panels: together at the paper's scale, else the paper's, if it prints most of them, and ours."""
    paper, own = (values(comparison, place, published) for published in (True, False))
    if comparison.at_paper_scale:
        return [panel(comparison, "paper (hollow) and ours", title, paper + own)]
    shown = []
    if 2 * len(paper) >= len(comparison.lines):
        shown.append(panel(comparison, f"paper, {comparison.table.setting.split(',')[0]}", title, paper))
    if own:
        shown.append(panel(comparison, f"ours, {comparison.scale}", title, own))
    return shown


def panel(comparison: Comparison, caption: str, title: str | None, points: list[dict[str, Any]]) -> Figure:
    """Points on two axes; without a title of the first, a line a row."""
    result = percent(comparison.table.measures[0])
    if title is not None:
        names = list(dict.fromkeys(series_of(comparison, line) for line in comparison.lines))
        return {
            "kind": "points",
            "title": caption,
            "x": title,
            "y": result,
            "values": points,
            "domain": {"series": names},
        }
    flipped = [{**one, "x": one["y"], "y": one["x"]} for one in points]
    return {"kind": "rows", "title": caption, "x": result, "y": None, "values": flipped}


def values(comparison: Comparison, place: Place, published: bool) -> list[dict[str, Any]]:
    """A point a row that has a result, the paper's or ours."""
    points = (point(comparison, line, place(line, published), published) for line in comparison.lines)
    return [one for one in points if one["x"] is not None and one["y"] is not None]


def point(comparison: Comparison, line: Line, x: float | str | None, published: bool) -> dict[str, Any]:
    """A row as a point, with its spread over seeds; a series a network where the first column names one."""
    table = comparison.table
    score = line.score(table.measures[0])
    y, spread = (score.published, None) if published else (score.mean, score.deviation)
    source = "paper" if published else "ours"
    mark = {
        "x": x,
        "y": y,
        "low": y if y is None or spread is None else y - spread,
        "high": y if y is None or spread is None else y + spread,
        "series": series_of(comparison, line),
        "source": source,
        "line": source if table.name in JOINED else label(line),
        "label": f"{source}: {label(line)}" + ("" if published else seeds(line.seeds)),
        "result": f"{y:.1f}" + (f" ± {spread:.1f} %" if spread is not None else " %") if y is not None else "",
        "costs": costs(flops(line, published), params(line, published)),
    }
    return mark if published or not line.runs else mark | {"run": run_id(line.runs[0])}


def series_of(comparison: Comparison, line: Line) -> str:
    """The network that a row is one of, where the first column names networks; else one series is the table's."""
    return clean(line.cells[0]) if comparison.table.name in GRIDS else comparison.table.name


def seeds(count: int) -> str:
    return f", {count} seed{'' if count == 1 else 's'}" if count else ""


def costs(flops: float | None, params: float | None) -> str:
    """What a network costs at the paper's size, in words."""
    known = ((flops, "G FLOPs"), (params, "M parameters"))
    return ", ".join(f"{value:.1f} {unit}" for value, unit in known if value is not None)


def percent(measure: str) -> str:
    """An axis' title: "top-1 (%)"."""
    return f"{MEASURES[measure]} (%)"


def label(line: Line) -> str:
    return clean(" / ".join(cell for cell in line.cells if cell))


def extent(line: Line) -> float | None:
    return float(line.cells[0]) if line.cells[0].isdecimal() else None


def flops(line: Line, published: bool) -> float | None:
    return line.flops_published if published else line.flops


def params(line: Line, published: bool) -> float | None:
    return line.params_published if published else line.params


def all_runs(runs: Iterable[Run]) -> list[Figure]:
    """Top-1 and AP of every finished run, on the test images, against its costs; a series a table."""
    known = [run for run in runs if run.status == "finished" and run.paper_flops and run.paper_params]
    shown: list[Figure] = []
    names = sorted({clean(run.table or "other runs") for run in known})
    for measure in ("top1", "ap"):
        points = [point_of(run, measure) for run in known if measure in run.measured("test")]
        points.sort(key=lambda one: one["series"])
        for title, cost in ((FLOPS, "flops"), (PARAMS, "params")):
            placed = [{**one, "x": one[cost]} for one in points]
            caption = f"{MEASURES[measure]} against {title.split(' (')[0]}"
            shown.append(
                {
                    "kind": "points",
                    "title": caption,
                    "x": title,
                    "y": f"test {percent(measure)}",
                    "values": placed,
                    "domain": {"series": names},
                }
            )
    return [figure for figure in shown if figure["values"]]


def point_of(run: Run, measure: str) -> dict[str, Any]:
    """A finished run as a point, its costs in the paper's units."""
    assert run.paper_flops is not None
    assert run.paper_params is not None
    in_units = run.paper_flops / 1e9, run.paper_params / 1e6
    return {
        "flops": in_units[0],
        "params": in_units[1],
        **dict.fromkeys(("y", "low", "high"), run.measured("test")[measure]),
        "series": clean(run.table or "other runs"),
        "source": "ours",
        "line": run_id(run),
        "label": name_of(run),
        "result": f"{run.measured('test')[measure]:.1f} %",
        "costs": costs(*in_units),
        "run": run_id(run),
    }


def row_of(run: Run) -> str:
    """What the seeds of a row share: "table4=k3"."""
    return clean(f"{run.table}={run.row}" if run.table and run.row else "run")


def title_of(run: Run) -> str:
    """A run's row and seed: "table4=k3 seed 1"."""
    return f"{row_of(run)} seed {run.seed}"


def name_of(run: Run) -> str:
    """A run as people call it: "table4=k3 seed 1, train.epochs=2"."""
    return title_of(run) + (f", {clean(run.variant)}" if run.variant else "")


def learning(comparison: Comparison, curves: Mapping[str, Curves]) -> Figure | None:
    """The learning curves of a table's rows together; `curves` by run folder.

    A row's curve is of its finished seeds, or, where none is, of the one that has come furthest.
    """
    grid = comparison.table.name in GRIDS
    series = []
    for line in comparison.lines:
        known = [run for run in line.runs if curves.get(run.folder)]
        runs = [run for run in known if run.status == "finished"] or sorted(
            known, key=lambda run: furthest(curves[run.folder]), reverse=True
        )[:1]
        if not runs:
            continue
        numbers = " ".join(str(run.seed) for run in runs)
        status = "" if runs[0].status == "finished" else f", {runs[0].status}"
        series.append(
            {
                "series": clean(line.cells[0]) if grid else label(line),
                "row": clean(line.cells[-1]),
                "label": f"{label(line)}, seed{'s' if len(runs) > 1 else ''} {numbers}{status}",
                "run": run_id(runs[0]),
                "curves": [curves[run.folder] for run in runs],
            }
        )
    return {"kind": "grid" if grid else "curves", "series": series} if series else None


def run_curves(run: Run, curves: Curves) -> list[Figure]:
    """A run's own figures, what it reaches and its loss, on the training images and those held out."""
    splits = [split for split in ("validation", "train") if split in curves]
    reached = next((name for name in MEASURES if any(name in curves[split] for split in splits)), None)
    names = [name for name in (reached, "loss") if name and any(name in curves[split] for split in splits)]
    series = [{"series": "", "label": name_of(run), "curves": [curves]}]
    return [
        {
            "kind": "curves",
            "title": MEASURES.get(name, name),
            "series": series,
            "draw": [[split, name] for split in splits],
        }
        for name in names
    ]


def furthest(curves: Curves) -> float:
    """How many epochs curves tell of: by the last line of metrics, which comes oftener than an epoch."""
    return max((xs[-1] or 0 for split in curves.values() if (xs := split.get("x"))), default=0)
