"""A comparison as blocks of columns whose cells are texts with a role: what each format prints in its own way."""

from collections.abc import Callable
from dataclasses import dataclass

from sasa.report.names import clean
from sasa.report.paper import FLOPS_TOLERANCE, PARAMS_TOLERANCE
from sasa.report.tables import Comparison, Line


@dataclass(frozen=True)
class Cell:
    """A text and its role: "", "published", "difference", "deviation" (too far off), "best" or a run's status."""

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
    """The blocks of a comparison: labels, FLOPs, parameters, and, where asked for, top-1 and the runs' own costs."""
    table, lines = comparison.table, comparison.lines
    found = [
        Block(table.heading, table.columns, tuple(_labels(line) for line in lines), labels=True),
        _block(lines, "FLOPs (G)", ("paper", "ours", "diff"), _flops),
        _block(lines, "parameters (M)", ("paper", "ours", "diff"), _params),
    ]
    if not cost_differences:
        found[1:] = [Block(b.title, b.headers[:2], tuple(row[:2] for row in b.rows)) for b in found[1:]]
    if top1:
        found.append(_block(lines, "top-1 (%)", ("paper", "ours", "diff"), _top1))
    if own_costs:
        found.append(_block(lines, "network as run", ("FLOPs", "params"), _own_costs))
    return found


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


def accuracy(line: Line) -> Cell:
    """77.4, or 77.4 ± 0.3 (3) over seeds, or what became of a run that has none."""
    if line.top1 is None:
        if line.status == "finished":
            return Cell("no top-1", "failed")
        return Cell(f"{line.status} {line.progress}".rstrip(), line.status)
    over_seeds = "" if line.top1_deviation is None else f" ± {line.top1_deviation:.1f} ({line.seeds})"
    return Cell(f"{line.top1:.1f}{over_seeds}", "best" if line.best else "")


def _block(
    lines: tuple[Line, ...], title: str, headers: tuple[str, ...], cells: Callable[[Line], tuple[Cell, ...]]
) -> Block:
    return Block(title, headers, tuple(cells(line) for line in lines))


def _labels(line: Line) -> tuple[Cell, ...]:
    return tuple(Cell(clean(text)) for text in line.cells)


def _flops(line: Line) -> tuple[Cell, ...]:
    return _costs(line.flops_published, line.flops, line.flops_difference, FLOPS_TOLERANCE)


def _params(line: Line) -> tuple[Cell, ...]:
    return _costs(line.params_published, line.params, line.params_difference, PARAMS_TOLERANCE)


def _costs(published: float | None, own: float | None, difference: float | None, tolerance: float) -> tuple[Cell, ...]:
    far = difference is not None and round(abs(difference), 2) > tolerance
    return (
        Cell(fixed(published, 1), "published"),
        Cell(fixed(own, 2)),
        Cell(signed(difference, 2), "deviation" if far else "difference"),
    )


def _top1(line: Line) -> tuple[Cell, ...]:
    difference = Cell(signed(line.top1_difference, 1), "difference")
    return Cell(fixed(line.top1_published, 1), "published"), accuracy(line), difference


def _own_costs(line: Line) -> tuple[Cell, ...]:
    return Cell(counted(line.run_flops)), Cell(counted(line.run_params))
