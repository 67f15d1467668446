"""A sum whose bits do not depend on how it is shared out."""

import torch
from torch import Tensor


class TreeSum:
    """The sum of `count` lists of tensors, given one after the other, which halves its terms again and again.

    So each half, quarter, ... of the terms is added up by itself, as if it were all that a process has. The terms of a part
    that cannot be halved, for their number is odd, are added in their order. At most 1 + log2(count) lists are held at once.
    """

    def __init__(self, count: int) -> None:
        self.odd = count // (count & -count)  # terms in the smallest parts
        self.parts: list[tuple[int, list[Tensor]]] = []  # how many terms each has, and their sum

    def add(self, terms: list[Tensor]) -> None:
        """The next term. The tensors become the sum's own, which writes on them."""
        self.parts.append((1, terms))
        while len(self.parts) > 1:
            (left, sums), (right, others) = self.parts[-2:]
            if left != right and left >= self.odd:
                return
            torch._foreach_add_(sums, others)
            self.parts[-2:] = [(left + right, sums)]

    def total(self) -> list[Tensor]:
        """The sum of all terms."""
        ((_, sums),) = self.parts
        return sums
