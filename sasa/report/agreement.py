"""Whether one's own runs agree with those that came with the project, row by row."""

from collections.abc import Iterable

from sasa.records.collect import SHIPPED, shipped_variant
from sasa.records.result import Run
from sasa.report.groups import gather
from sasa.report.intervals import CONFIDENCE, contrast
from sasa.report.paper import TABLES, Table


def agreement(runs: Iterable[Run], scale: str, variant: str = "") -> str:
    """In words: in how many rows both have the same result, by an interval that holds over all rows.

    Shipped runs that were merged into one's own do not count as those. Where none shipped has the same overrides, those that
    differ in how the images are read are taken, and named. Empty where none was shipped at all.
    """
    runs = [run for run in runs if run.scale == scale]
    shipped = [run for run in runs if run.variant.startswith(SHIPPED)]
    merged = {(run.key, run.started) for run in shipped}
    own = [run for run in runs if run.variant == variant and (run.key, run.started) not in merged]
    alike = {run.variant for run in shipped if recipe(run.variant) == recipe(shipped_variant(variant))}
    for theirs in sorted(alike, key=lambda one: (one != shipped_variant(variant), one)):
        pairs = {
            (table.name, row): pair
            for table in TABLES.values()
            for row, pair in both(table, [*own, *shipped], scale, variant, theirs).items()
        }
        if pairs:
            return compared(pairs) + ("" if theirs == shipped_variant(variant) else f" (those are {theirs})")
    if not shipped:
        return ""
    return "No row has two seeds here and two among the shipped results, trained alike: nothing to compare with them"


def recipe(variant: str) -> list[str]:
    """The overrides of a variant but for those that tell how images are read."""
    words = variant.replace(" ", "").split(",")
    return [word for word in words if word and not word.startswith(("data.reader=", "data.root=", "images="))]


def compared(pairs: dict[tuple[str, str], tuple[list[float], list[float]]]) -> str:
    """How many rows agree, and which differ by how much."""
    confidence = 1 - (1 - CONFIDENCE) / len(pairs)
    apart = []
    for (table, row), pair in pairs.items():
        difference = contrast([(1.0, pair[0]), (-1.0, pair[1])])
        low, high = difference.interval(confidence) or (difference.value, difference.value)
        if low > 0 or high < 0:
            apart.append(f"{table}={row} {difference.value:+.2f}")
    text = f"{len(pairs) - len(apart)} of {len(pairs)} rows agree with the shipped results"
    return text + (f"; ours differ in {', '.join(apart)}" if apart else "")


def both(
    table: Table, runs: list[Run], scale: str, variant: str, shipped: str
) -> dict[str, tuple[list[float], list[float]]]:
    """The results over seeds, ours and the shipped ones, of each row where both have two seeds and were trained alike."""
    ours, theirs = (gather(runs, table.name, scale, name) for name in (variant, shipped))
    pairs = {}
    for row in ours.keys() & theirs.keys():
        values = tuple(groups[row].values(table.split, table.measures[0]) for groups in (ours, theirs))
        if min(map(len, values)) > 1 and ours[row].conditions == theirs[row].conditions:
            pairs[row] = (values[0], values[1])
    return pairs
