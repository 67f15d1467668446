"""The attention core at the paper's shapes against its contenders, and its growth with extent and map size."""

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sasa.bench.contenders import Contender, flex, natten, ours, shifted, unfold
from sasa.bench.measure import Result, Step, alternate
from sasa.ops import resolve

SHAPES = ((56, 64), (28, 128), (14, 256), (7, 512))  # side and channels of the four layer groups at 224 pixels
HEADS = 8
EXTENTS = (3, 5, 7, 9, 11, 13, 15, 17, 19)
SIDES = (16, 32, 64, 128, 256)


def run(device: torch.device, dtype: torch.dtype, batch: int, quick: bool) -> list[dict[str, Any]]:
    """Rows of the three tables: shapes (all contenders), extents and sides (the fastest backend)."""
    rounds = 3 if quick else 7
    rows = []
    for side, channels in SHAPES[2:] if quick else SHAPES:
        steps = {
            name: attention_steps(contender, device, dtype, batch, side, channels, 7)
            for name, contender in contenders(device, dtype, quick).items()
        }
        steps["3x3 convolution"] = convolution_steps(device, dtype, batch, side, channels)
        results = alternate(steps, rounds, device)
        rows += [row("shapes", f"{side}x{side}x{channels}", 7, x, results[x]) for x in results]
    best = resolve("auto", device, dtype)
    for extent in EXTENTS[::4] if quick else EXTENTS:
        steps = {best: attention_steps(ours(best), device, dtype, batch, 28, 128, extent)}
        rows.append(row("extents", "28x28x128", extent, best, alternate(steps, rounds, device)[best]))
    for side in SIDES[:2] if quick else SIDES:
        steps = {best: attention_steps(ours(best), device, dtype, 1, side, 64, 7)}
        rows.append(row("sides", f"{side}x{side}x64, batch 1", 7, best, alternate(steps, rounds, device)[best]))
    return rows


def contenders(device: torch.device, dtype: torch.dtype, quick: bool) -> dict[str, Contender]:
    """Everything that computes the operation here, by name; the quick form leaves out what must be compiled."""
    backends = ["tiled"] if resolve("auto", device, dtype) == "tiled" else ["tiled", resolve("auto", device, dtype)]
    compared = {"unfold": unfold, "shifted views": shifted, **{x: ours(x) for x in backends}}
    if not quick:
        compared["unfold, compiled"] = torch.compile(unfold, dynamic=False)
        compared["FlexAttention"] = flex()
    if importlib.util.find_spec("natten"):
        compared["NATTEN (no relative term)"] = natten
    return compared


def attention_steps(
    contender: Contender, device: torch.device, dtype: torch.dtype, batch: int, side: int, channels: int, extent: int
) -> dict[str, Step]:
    """Forward, and forward with backward for all five inputs."""
    generator = torch.Generator(device).manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device, dtype=dtype)

    inputs = [random(batch, side, side, channels).requires_grad_() for _ in range(3)]
    inputs += [random(HEADS, extent, channels // HEADS // 2).requires_grad_() for _ in range(2)]
    return timed(lambda: contender(*inputs), inputs, random(batch, side, side, channels))


def convolution_steps(
    device: torch.device, dtype: torch.dtype, batch: int, side: int, channels: int
) -> dict[str, Step]:
    """The convolution that attention replaces."""
    convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False, device=device, dtype=dtype)
    convolution = convolution.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(batch, channels, side, side, device=device, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    gradient = torch.randn_like(x)
    return timed(lambda: convolution(x), [x.requires_grad_(), convolution.weight], gradient)


def timed(forward: Callable[[], Tensor], inputs: list[Tensor], gradient: Tensor) -> dict[str, Step]:
    def inference() -> Tensor:
        with torch.no_grad():
            return forward()

    return {"forward": inference, "both": lambda: torch.autograd.grad(forward(), inputs, gradient)}


def row(table: str, shape: str, extent: int, contender: str, result: Result) -> dict[str, Any]:
    return {
        "table": table,
        "shape": shape,
        "extent": extent,
        "contender": contender,
        "forward_ms": 1e3 * result.median("forward"),
        "both_ms": 1e3 * result.median("both"),
        "peak_mb": None if result.peak is None else result.peak / 1e6,
        "failure": result.failure,
    }
