"""What bounds the operation on a device, measured on it: bytes a second of its memory, and exponentials a second."""

import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from sasa.bench.gpu.runner import Row
from sasa.bench.measure import alternate

SIZE = 1024  # elements a program


class Rates(NamedTuple):
    """Bytes read and written a second, and exponentials a second."""

    bytes: float
    exponentials: float

    def shares(self, phase: str, row: Row, count: int, exponentials: int) -> Row:
        """The least time that so many bytes take, and so many exponentials, as shares of the phase's time in the row."""
        seconds = row[f"{phase}_device_ms"] / 1e3 or math.inf
        return {
            f"{phase}_of_bytes": count / self.bytes / seconds,
            f"{phase}_of_exponentials": exponentials / self.exponentials / seconds,
        }


@triton.jit
def exponentials_kernel(x, COUNT: tl.constexpr, SIZE: tl.constexpr):
    """COUNT exponentials of each element, one of the other."""
    at = x + tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    values = tl.load(at)
    for _ in range(COUNT):
        values = tl.exp2(-values)
    tl.store(at, values)


def measured(device: torch.device) -> Rates:
    """Both rates, medians of ten: a copy of 1 GiB, and 2^35 exponentials in registers; on a CPU next to none of them."""
    small = device.type == "cpu"
    elements, programs, count = (2**20, 1, 2) if small else (2**28, 2**14, 2**11)
    source = torch.zeros(elements, device=device)
    to, x = torch.empty_like(source), torch.zeros(programs * SIZE, device=device)
    steps = {
        "copy": {"step": lambda: to.copy_(source)},
        "exponentials": {"step": lambda: exponentials_kernel[(programs,)](x, count, SIZE)},
    }
    results = alternate(steps, 1 if small else 10, device)
    if failure := next((result.failure for result in results.values() if result.failure), None):
        raise RuntimeError(failure)
    copied, raised = (results[name].median("step") for name in steps)
    return Rates(2 * 4 * elements / copied, programs * SIZE * count / raised)
