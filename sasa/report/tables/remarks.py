"""What stands below a table: where its numbers come from, what this scale cannot tell, and what a larger k is worth."""

from collections.abc import Iterable

from sasa.report.maps import too_small
from sasa.report.tables.compare import Comparison
from sasa.report.tables.layout import signed


def remarks(comparison: Comparison) -> list[str]:
    """One text each."""
    return [comparison.table.note] * bool(comparison.table.note) + [*small_maps(comparison), *benefit(comparison)]


def small_maps(comparison: Comparison) -> Iterable[str]:
    """Why the runs of Table 4 cannot tell its largest extents apart, where their images are too small."""
    if comparison.table.name == "table4" and (why := too_small(comparison.runs, 7, 11)):
        yield f"The {why}; that accuracy flattens here does not say that it would at 224x224."


def benefit(comparison: Comparison) -> Iterable[str]:
    """What each step of k in Table 4 gains for its FLOPs at the paper's size."""
    if comparison.table.name != "table4":
        return
    gains = []
    for before, line in zip(comparison.lines, comparison.lines[1:], strict=False):
        costs = [one.flops for one in (before, line)]
        costs = costs if all(costs) else [one.flops_published for one in (before, line)]  # which are rounded
        if costs[0] and costs[1] and costs[1] > costs[0]:
            pairs = ((one.mean, one.published) for one in (before.score(), line.score()))
            own, paper = (
                None if None in step else signed((step[1] - step[0]) / (costs[1] - costs[0]), 1)
                for step in zip(*pairs, strict=True)
            )
            gains.append(f"{before.row} to {line.row} {own or '-'} (paper {paper or '-'})")
    if gains:
        yield f"Points of top-1 gained per G of FLOPs at the paper's size: {', '.join(gains)}."
