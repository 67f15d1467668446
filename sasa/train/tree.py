"""A sum whose bits do not depend on how it is shared out."""

import torch
from torch import Tensor


class TreeSum:
    """The sum of `count` lists of tensors, given one after the other, which halves its terms again and again.

    So each half, quarter, ... of the terms is added up by itself, as if it were all that a process has. The terms of a part
    that cannot be halved, for their number is odd, are added in their order. At most 1 + log2(count) lists are held at once,
    and one less where whoever makes a term adds it to what is `begun`.
    """

    def __init__(self, count: int) -> None:
        self.odd = count // (count & -count)  # terms in the smallest parts
        self.parts: list[tuple[int, list[Tensor]]] = []  # how many terms each has, and their sum

    @property
    def begun(self) -> list[Tensor] | None:
        """The part of the sum to which the next term comes first of all, if there is one."""
        count, sums = self.parts[-1] if self.parts else (0, None)
        return sums if count == 1 or count < self.odd else None

    def add(self, terms: list[Tensor]) -> None:
        """The next term, or what is begun with that term added to it. The tensors become the sum's own, which writes on them."""
        count = 1
        if terms is self.begun:
            count += self.parts.pop()[0]
        self.parts.append((count, terms))
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
