"""A comparison as blocks of columns whose cells are texts with a role: what each format prints in its own way."""

from collections.abc import Callable
from dataclasses import dataclass

from sasa.report.names import clean
from sasa.report.paper import MEASURES
from sasa.report.tables.compare import Comparison, Line


@dataclass(frozen=True)
class Cell:
    """A text and its role: "", "published", "difference", "deviation" (too far off), "effect", "best" or a run's status."""

    text: str
    role: str = ""


@dataclass(frozen=True)
class Block:
    """Columns under one title, of numbers, or of labels, which are aligned on the left."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    labels: bool = False


def blocks(
    comparison: Comparison, *, top1: bool = True, cost_differences: bool = True, own_costs: bool = False
) -> list[Block]:
    """The blocks of a comparison: labels, FLOPs, parameters, and, where asked for, results, effects and the runs' own costs.

    A table with several results has the paper's numbers above ours, not beside them, and the spread over seeds below.
    """
    table, lines = comparison.table, comparison.lines
    if top1 and len(table.measures) > 1:
        return stacked(comparison, own_costs)
    shown = [
        Block(table.heading, table.columns, tuple(label_cells(line) for line in lines), labels=True),
        block(lines, "FLOPs (G)", ("paper", "ours", "diff"), lambda line: flops_cells(line, table.flops_tolerance)),
        block(
            lines, "parameters (M)", ("paper", "ours", "diff"), lambda line: params_cells(line, table.params_tolerance)
        ),
    ]
    if not cost_differences:
        shown[1:] = [Block(b.title, b.headers[:2], tuple(row[:2] for row in b.rows)) for b in shown[1:]]
    if top1:
        headers = ("paper", "ours", "diff") if comparison.at_paper_scale else ("paper", "ours")
        shown.append(block(lines, "top-1 (%)", headers, lambda line: top1_cells(line)[: len(headers)]))
        if table.reference:
            shown.append(block(lines, f"gain over {table.over}", ("paper", "ours", "95 %"), effect_cells))
    if own_costs:
        shown.append(block(lines, "network as run", ("FLOPs", "params"), own_cost_cells))
    return shown


def fixed(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"


def signed(value: float | None, decimals: int) -> str:
    """The value with its sign; what rounds to zero has none."""
    text = "" if value is None else f"{value:+.{decimals}f}"
    return text[1:] if text and float(text) == 0 else text


def counted(value: float | None) -> str:
    """A plain count to three digits: 123k, 1.20M, 6.97G."""
    if value is None:
        return ""
    for limit, unit in ((999.5e6, "G"), (999.5e3, "M"), (999.5, "k")):
        if abs(value) >= limit:
            scaled = value / float({"G": 1e9, "M": 1e6, "k": 1e3}[unit])
            return f"{scaled:.{max(0, 3 - len(str(int(abs(scaled)))))}f}{unit}"
    return f"{value:.0f}"


def accuracy(line: Line, measure: str = "top1", spread: bool = True) -> Cell:
    """77.4, or 77.4 ± 0.3 (3) over seeds, or what became of a run that has none."""
    score = line.score(measure)
    if score.mean is None:
        if line.status == "finished":
            return Cell(f"no {MEASURES[measure]}", "failed")
        return Cell(f"{line.status} {line.progress}".rstrip(), line.status)
    over_seeds = f" ± {score.deviation:.1f} ({line.seeds})" if spread and score.deviation is not None else ""
    return Cell(f"{score.mean:.1f}{over_seeds}", "best" if line.best else "")


def stacked(comparison: Comparison, own_costs: bool) -> list[Block]:
    """Two rows a line, the paper's and ours, or three, where any has a spread over seeds."""
    table, lines = comparison.table, comparison.lines
    spread = any(line.score(measure).deviation is not None for line in lines for measure in table.measures)

    def rows(*cells: Callable[[Line], tuple[Cell, ...]]) -> tuple[tuple[Cell, ...], ...]:
        """Those of each line: what each function makes of it, and an empty one for the spread where it makes none."""
        shown = [*cells, *[lambda line: tuple(Cell("") for _ in cells[0](line))] * (2 + spread - len(cells))]
        return tuple(make(line) for line in lines for make in shown[: 2 + spread])

    labels = rows(
        lambda line: (*label_cells(line), Cell("paper", "published")),
        lambda line: (*(Cell("") for _ in line.cells), Cell("ours" + (f" ({line.seeds})" if line.seeds > 1 else ""))),
        lambda line: (*(Cell("") for _ in line.cells), Cell("±" if line.seeds > 1 else "", "published")),
    )
    costs = rows(
        lambda line: (
            Cell(fixed(line.flops_published, 0), "published"),
            Cell(fixed(line.params_published, 1), "published"),
        ),
        lambda line: (
            cost_cells(None, line.flops, line.flops_difference, table.flops_tolerance, 1)[1],
            cost_cells(None, line.params, line.params_difference, table.params_tolerance, 1)[1],
        ),
    )
    first, *others = table.measures
    results = rows(
        lambda line: tuple(Cell(fixed(line.score(name).published, 1), "published") for name in table.measures),
        lambda line: (accuracy(line, first, spread=False), *(further(line, name) for name in others)),
        lambda line: tuple(Cell(fixed(line.score(name).deviation, 1), "published") for name in table.measures),
    )
    effects = rows(lambda line: (effect_cells(line)[0], Cell("")), lambda line: effect_cells(line)[1:])
    shown = [
        Block(table.heading, (*table.columns, "from"), labels, labels=True),
        Block("costs", ("FLOPs (G)", "params (M)"), costs),
        Block("results (%)", tuple(MEASURES[name] for name in table.measures), results),
        Block(f"{MEASURES[first]} over {table.over}", ("gain", "95 %"), effects),
    ]
    if own_costs:
        shown.append(Block("network as run", ("FLOPs", "params"), rows(lambda _: (Cell(""), Cell("")), own_cost_cells)))
    return shown


def further(line: Line, measure: str) -> Cell:
    """A result after the first; a finished run without it, such as the AP of a size that does not occur, has a dash."""
    mean = line.score(measure).mean
    return Cell("-" if mean is None and line.status == "finished" else fixed(mean, 1))


def block(
    lines: tuple[Line, ...], title: str, headers: tuple[str, ...], cells: Callable[[Line], tuple[Cell, ...]]
) -> Block:
    return Block(title, headers, tuple(cells(line) for line in lines))


def label_cells(line: Line) -> tuple[Cell, ...]:
    return tuple(Cell(clean(text)) for text in line.cells)


def flops_cells(line: Line, tolerance: float) -> tuple[Cell, ...]:
    return cost_cells(line.flops_published, line.flops, line.flops_difference, tolerance)


def params_cells(line: Line, tolerance: float) -> tuple[Cell, ...]:
    return cost_cells(line.params_published, line.params, line.params_difference, tolerance)


def cost_cells(
    published: float | None, own: float | None, difference: float | None, tolerance: float, decimals: int = 2
) -> tuple[Cell, ...]:
    far = difference is not None and round(abs(difference), 2) > tolerance
    return (
        Cell(fixed(published, 1), "published"),
        Cell(fixed(own, decimals), "deviation" if far and decimals == 1 else ""),
        Cell(signed(difference, 2), "deviation" if far else "difference"),
    )


def top1_cells(line: Line) -> tuple[Cell, ...]:
    difference = Cell(signed(line.score().difference, 1), "difference")
    return Cell(fixed(line.score().published, 1), "published"), accuracy(line), difference


def effect_cells(line: Line) -> tuple[Cell, ...]:
    """The paper's effect, ours, and our interval; the row of reference has a dash each."""
    effect = line.effect
    if effect is None:
        return Cell("-", "published"), Cell("-", "published"), Cell("")
    interval = "" if effect.low is None else f"[{signed(effect.low, 2)}, {signed(effect.high, 2)}]"
    return (
        Cell(signed(effect.published, 1), "published"),
        Cell(signed(effect.value, 2), "effect"),
        Cell(interval, "effect"),
    )


def own_cost_cells(line: Line) -> tuple[Cell, ...]:
    return Cell(counted(line.run_flops)), Cell(counted(line.run_params))
