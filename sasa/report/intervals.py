"""Differences between rows, with intervals that hold where rows spread unequally: Welch's t over seeds.

Rows are not paired by seed. Two networks that share a seed share the order of their images and nothing else (the held-out
images are the same for all seeds), and pairs would have half the degrees of freedom.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
POWER = 0.8416  # the normal quantile of 80 %: how often as many seeds as are advised decide
MOST_SEEDS = 100  # a row; what would take more is too close to call


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of rows' means: its value, and, where it has one, its standard error with degrees of freedom.

    There is no error where a row has a single seed, or where no row's seeds differ. `seeds`: the fewest of any row.
    """

    value: float
    seeds: int
    error: float | None = None
    freedom: float = 1.0

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
        """Bounds that hold the true value with this confidence; None without a standard error."""
        if self.error is None:
            return None
        half = quantile((1 + confidence) / 2, self.freedom) * self.error
        return self.value - half, self.value + half


def contrast(rows: Sequence[tuple[float, Sequence[float]]]) -> Contrast:
    """The sum of weight times mean over rows, given as (weight, values of its seeds); no row is empty.

    The degrees of freedom are Welch's and Satterthwaite's, but no more than if every row had as few seeds as the one with
    the fewest: at five seeds against two that spread more, the interval would else hold in 89 % and not in 92.
    """
    value = sum(weight * statistics.fmean(values) for weight, values in rows)
    seeds = min(len(values) for _, values in rows)
    if seeds < 2:
        return Contrast(value, seeds)
    parts = [(weight**2 * statistics.variance(values) / len(values), len(values) - 1) for weight, values in rows]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Contrast(value, seeds)
    freedom = variance**2 / sum(part**2 / free for part, free in parts)
    return Contrast(value, seeds, math.sqrt(variance), min(freedom, len(rows) * (seeds - 1)))


def seeds_for(distance: float, measured: Contrast, confidence: float = CONFIDENCE) -> int | None:
    """Seeds a row with which an interval clears `distance` with 80 % power, if it and the spread stay as measured.

    More than there are; None where MOST_SEEDS would not do, or where the spread is not known.
    """
    if measured.error is None:
        return None
    for seeds in range(measured.seeds + 1, MOST_SEEDS + 1):
        freedom = measured.freedom * (seeds - 1) / (measured.seeds - 1)
        error = measured.error * math.sqrt(measured.seeds / seeds)
        if (quantile((1 + confidence) / 2, freedom) + POWER) * error <= abs(distance):
            return seeds
    return None


def quantile(probability: float, freedom: float) -> float:
    """Student's t that `probability` of the distribution lies below; the degrees of freedom need not be whole."""
    from scipy.special import stdtrit  # a quarter of a second, which tables without seeds need not wait for

    return float(stdtrit(freedom, probability))
