"""A sum whose bits do not depend on how it is shared out, nor on the order of its terms."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

UNIT = 2.0**40  # parts of one: a term is rounded to a multiple of 1 / UNIT = 9e-13


class ExactSum:
    """Sums over the micro-batches of a step, of as many tensors as there are `like` ones.

    They are kept as whole numbers of 1 / UNIT in float64, which adds these without rounding as long as sums stay below
    2^53 / UNIT = 8192: twice the bytes of float32 tensors, however many terms there are.
    """

    def __init__(self, like: Sequence[Tensor]) -> None:
        self.like = like
        self.units = torch.zeros(sum(x.numel() for x in like), dtype=torch.float64, device=like[0].device)
        self.views, begin = [], 0
        for x in like:
            self.views.append(self.units.as_strided(x.size(), x.stride(), begin))
            begin += x.numel()

    def take_gradients(self, parameters: Sequence[Tensor]) -> None:
        """From now on add each parameter's gradient where it is made, and leave none: so no copy of all of them is held."""
        for place, parameter in enumerate(parameters):
            parameter.register_post_accumulate_grad_hook(partial(self.take, place))

    def take(self, place: int, parameter: Tensor) -> None:
        """Add a parameter's gradient to the sum at a place."""
        if parameter.grad is not None:
            self.add(place, parameter.grad)
            parameter.grad = None

    def add(self, place: int, *terms: Tensor) -> None:
        """Add a term to each of the sums from a place on."""
        for view, term in zip(self.views[place:], terms, strict=False):
            view.add_(term.double().mul_(UNIT).round_())

    def means(self, count: int) -> list[Tensor]:
        """The sums divided by a count, each rounded once; the next sums begin at zero."""
        means = [(view / (count * UNIT)).to(x.dtype) for view, x in zip(self.views, self.like, strict=True)]
        self.units.zero_()
        return means
