"""Where and how large the parts of `sasa.bench gpu` measure: in full on a GPU, or in small on a CPU, to try the code."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from sasa.ops import triton_backend


@dataclass(frozen=True)
class Setting:
    """What was asked for on the command line."""

    device: str  # "cuda" or "cpu"
    batch: int = 128  # images of a classifier's step, and of the operation
    images: Path | None = None  # train/<class>/ and test/<class>/ of CIFAR-10

    @property
    def small(self) -> bool:
        """Whether shapes are small, and nothing is compiled."""
        return self.device == "cpu"

    @property
    def patience(self) -> float:
        """What limits are multiplied by: in small only a part that hangs is to meet its own."""
        return 10.0 if self.small else 1.0

    @property
    def dtype(self) -> torch.dtype:
        """What is measured in: bfloat16, as networks are trained on a GPU."""
        return torch.float32 if self.small else torch.bfloat16

    @contextmanager
    def taken(self, alone: bool = True) -> Iterator[torch.device]:
        """The device; on a CPU what would be compiled runs as it is written meanwhile.

        Where others compute beside it, kernels' variants are not timed: the first one is taken.
        """
        if not self.small and torch.cuda._is_in_bad_fork():
            raise RuntimeError("what is loaded before parts are forked has asked for GPUs: runner.PRELOADED")
        triton_backend.variant = None if alone else 0
        torch.manual_seed(0)
        with torch.compiler.set_stance("force_eager" if self.small else "default"):
            yield torch.device(self.device)
