"""Local attention at the paper's four maps, and the stems, beside what else computes them, with the share of their bounds."""

import math
from collections.abc import Iterator, Sequence

import torch

from sasa.bench import ops, stems
from sasa.bench.contenders import Contender, flex, ours, unfold
from sasa.bench.gpu.runner import Row, Tell
from sasa.bench.gpu.setting import Setting
from sasa.bench.measure import Step, alternate, kernels
from sasa.bench.models import measured
from sasa.ops import triton_backend

EXTENT = 7
OURS = "ours"


def maps(setting: Setting) -> Sequence[tuple[int, int]]:
    """Side and channels of the maps."""
    return ((8, 64),) if setting.small else ops.SHAPES


def work(setting: Setting, shapes: Sequence[tuple[int, int]], rounds: int, tell: Tell) -> None:
    """The rates that bound it, then each contender at each map; without rounds everything is compiled, and no more."""
    from sasa.bench.gpu import rates  # imports Triton

    with setting.taken() as device:
        bounding = rates.measured(device) if rounds else None
        if bounding:
            tell({"table": "rates", **bounding._asdict()})
        for side, channels in shapes:
            torch.compiler.reset()  # or one compiled function has more shapes than it may
            compared = {
                **({OURS: ours("auto")} if rounds else {}),  # where nothing is beside it, for variants are timed
                **variants(setting, channels),
                "unfold, compiled": torch.compile(unfold, dynamic=False),
                "FlexAttention": flex(),
            }
            size = device, setting.dtype, setting.batch, side, channels
            steps = {name: ops.attention_steps(x, *size, EXTENT) for name, x in compared.items()}
            steps["3x3 convolution"] = ops.convolution_steps(*size)
            for name, result in alternate(steps, rounds, device).items():
                row = ops.row("maps", f"{side}x{side}x{channels}", EXTENT, name, result)
                if bounding and not result.failure:
                    row |= device_times(steps[name], device)
                    if name == OURS:
                        numbers = setting.batch * side**2 * channels * setting.dtype.itemsize
                        logits = setting.batch * side**2 * ops.HEADS * EXTENT**2
                        row |= bounding.shares("forward", row, 4 * numbers, logits)
                        row |= bounding.shares("both", row, 11 * numbers, 2 * logits)
                tell(row)
            for row in picks(side, channels):
                tell(row)


def variants(setting: Setting, channels: int) -> dict[str, Contender]:
    """Ours as it would be with each variant of its kernels."""
    some = triton_backend.variants(EXTENT, channels // ops.HEADS, setting.dtype.itemsize, ops.HEADS)
    return {f"{OURS}, {triton_backend.named(x)}": ours("auto", n) for n, x in enumerate(some)}


def picks(side: int, channels: int) -> Iterator[Row]:
    """For each of our kernels at a map the milliseconds of its variants, None for those that failed: the least was picked."""
    from sasa.ops.triton_tuning import known  # imports Triton

    for (kernel, _, *shape), times in known.items():
        if shape[:3] == [side, side, channels]:
            found = {name: ms if math.isfinite(ms) else None for name, ms in times.items()}
            yield {"table": "variants", "shape": f"{side}x{side}x{channels}", "kernel": kernel, "milliseconds": found}


def work_stems(setting: Setting, rounds: int, tell: Tell) -> None:
    """Each stem, forward and backward with its batch norm."""
    from sasa.bench.gpu import rates  # imports Triton

    side = 16 if setting.small else stems.SIDE
    with setting.taken() as device:
        bounding = rates.measured(device)
        each = stems.stems(quick=True)
        steps = {name: stems.both(x, device, setting.dtype, setting.batch, side) for name, x in each.items()}
        for row in measured("stems", steps, setting.batch, rounds, device):
            if not row["failure"]:
                row |= device_times({"both": steps[row["network"]]}, device)
                pixels = setting.batch * side**2
                if row["network"] in stems.KINDS:  # pixels are read twice; maxima and their places written, and read
                    numbers = pixels * (2 * 4 * 3 + 2 * (4 + 1) * stems.CHANNELS // 16)
                    row |= bounding.shares("both", row, numbers, 2 * pixels * stems.HEADS * 16)
            tell(row)


def device_times(steps: dict[str, Step], device: torch.device) -> Row:
    """Milliseconds of each phase's kernels on the device, without the gaps between them."""
    return {f"{name}_device_ms": sum(ms for _, ms in kernels(step, device)) for name, step in steps.items()}
