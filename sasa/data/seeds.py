"""Random numbers that are a function of their names: the same on every machine, in every process, in any order."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

GOLDEN = 0x9E3779B97F4A7C15


def hash64(*parts: ArrayLike) -> NDArray[np.uint64]:
    """One 64-bit number for each combination of integers (arrays broadcast); splitmix64, chained over the parts.

    For fixed leading parts it is a bijection of the last one, so two indices never share a number.
    """
    state = np.full(1, GOLDEN, np.uint64)
    for part in parts:
        state = state ^ np.atleast_1d(np.asarray(part, np.int64)).view(np.uint64)
        state = state + np.uint64(GOLDEN)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def uniform(*parts: ArrayLike) -> NDArray[np.float64]:
    """Numbers in [0, 1), one for each combination of integers."""
    return (hash64(*parts) >> np.uint64(11)).astype(np.float64) / 2**53
