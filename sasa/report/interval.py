"""Confidence intervals of differences between means of few seeds: Student's t, without SciPy."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The standard deviation over seeds, pooled over rows, with its degrees of freedom and the number of rows."""

    deviation: float
    freedom: int
    rows: int


def pooled(samples: Iterable[Sequence[float]]) -> Spread | None:
    """The spread within samples of two values and more, taken to be equal in all; None if there is no such sample."""
    repeated = [values for values in samples if len(values) > 1]
    freedom = sum(len(values) - 1 for values in repeated)
    if not freedom:
        return None
    squares = sum(statistics.variance(values) * (len(values) - 1) for values in repeated)
    return Spread(math.sqrt(squares / freedom), freedom, len(repeated))


def contrast(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Mean of the means of samples `a` less that of `b`, and what its error is in standard deviations of a value."""
    difference = statistics.fmean(map(statistics.fmean, a)) - statistics.fmean(map(statistics.fmean, b))
    variance = sum(sum(1 / len(values) for values in side) / len(side) ** 2 for side in (a, b))
    return difference, math.sqrt(variance)


def quantile(probability: float, freedom: int) -> float:
    """Student's t that `probability` of the distribution lies below, 0.5 <= probability < 1."""
    low, high = 0.0, 1.0
    while below(high, freedom) < probability:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def below(t: float, freedom: int) -> float:
    """P(T <= t) of Student's t with a whole number of degrees of freedom, t >= 0 (Abramowitz and Stegun 26.7.3, 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    term = total = cosine if freedom % 2 else 1.0
    for n in range(3 if freedom % 2 else 2, freedom, 2):
        term *= cosine**2 * (n - 1) / n
        total += term
    if not freedom % 2:
        return 0.5 + sine * total / 2
    return 0.5 + (angle + (sine * total if freedom > 1 else 0)) / math.pi
