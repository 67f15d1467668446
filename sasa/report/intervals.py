"""Differences between rows, with intervals that hold where rows spread unequally: Welch's t over seeds.

Rows are not paired by seed. Two networks that share a seed share the order of their images and nothing else (the held-out
images are the same for all seeds), and pairs would have half the degrees of freedom.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

CONFIDENCE = 0.95
POWER = 0.8416  # the normal quantile of 80 %: how often as many seeds as are advised decide
MOST_SEEDS = 100  # a row; what would take more is too close to call


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of rows' means: its value, and what its error is made of.

    variances: of each row, its weight squared times the sample variance of its seeds (0 of a single one); counts: its seeds.
    """

    value: float
    variances: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def seeds(self) -> int:
        """The fewest of any row."""
        return min(self.counts)

    @property
    def error(self) -> float:
        """The standard error; 0 where a row has a single seed, or where no row's seeds differ: then it is not known."""
        return math.sqrt(sum(self.shares)) if self.seeds > 1 else 0.0

    @property
    def shares(self) -> list[float]:
        """Each row's part of the squared error."""
        return [variance / count for variance, count in zip(self.variances, self.counts, strict=True)]

    @property
    def freedom(self) -> float:
        """Welch's and Satterthwaite's degrees of freedom, but no more than if every row had as few seeds as the one with
        the fewest: at five seeds against two that spread more, the interval would else hold in 89 % and not in 92.
        """
        parts = zip(self.shares, self.counts, strict=True)
        freedom = sum(self.shares) ** 2 / sum(share**2 / (count - 1) for share, count in parts)
        return min(freedom, len(self.counts) * (self.seeds - 1))

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
        """Bounds that hold the true value with this confidence; None without a standard error."""
        if not self.error:
            return None
        half = quantile((1 + confidence) / 2, self.freedom) * self.error
        return self.value - half, self.value + half


def contrast(rows: Sequence[tuple[float, Sequence[float]]]) -> Contrast:
    """The sum of weight times mean over rows, given as (weight, values of its seeds); no row is empty."""
    value = sum(weight * statistics.fmean(values) for weight, values in rows)
    variances = [weight**2 * statistics.variance(values) if len(values) > 1 else 0.0 for weight, values in rows]
    return Contrast(value, tuple(variances), tuple(len(values) for _, values in rows))


def seeds_for(distance: float, measured: Contrast, confidence: float = CONFIDENCE) -> int | None:
    """Seeds a row with which an interval clears `distance` with 80 % power, if it and the spreads stay as measured.

    Rows that have more keep them. None where MOST_SEEDS would not do, or where the error is not known.
    """
    if not measured.error:
        return None
    for seeds in range(measured.seeds + 1, MOST_SEEDS + 1):
        then = replace(measured, counts=tuple(max(count, seeds) for count in measured.counts))
        if (quantile((1 + confidence) / 2, then.freedom) + POWER) * then.error <= abs(distance):
            return seeds
    return None


def quantile(probability: float, freedom: float) -> float:
    """Student's t that `probability` of the distribution lies below; the degrees of freedom need not be whole."""
    from scipy.special import stdtrit  # a quarter of a second, which tables without seeds need not wait for

    return float(stdtrit(freedom, probability))
