"""Forward and backward pass of the stems: attention against the convolution, and against plain PyTorch that writes y."""

from typing import Any

import torch
from torch import Tensor, nn

from sasa.bench.measure import Step
from sasa.bench.models import SIDE, measured
from sasa.nn.attention import AttentionOptions
from sasa.nn.stem import AttentionStem, build_stem
from sasa.ops.stem import reference
from sasa.ops.stem.arguments import BLOCK, Arguments

CHANNELS, MIXTURES, HEADS = 64, 4, AttentionOptions().stem_heads
KINDS = {
    "attention": "attention",
    "convolutional values": "attention_conv_values",
    "spatially-aware values": "attention_spatial_values",
}


class Plain(nn.Module):
    """An attention stem whose y is written, normalised, clipped and pooled."""

    def __init__(self, stem: AttentionStem) -> None:
        super().__init__()
        self.stem = stem

    def forward(self, x: Tensor) -> Tensor:
        stem = self.stem
        pixels, (value, mixture) = x.permute(0, 2, 3, 1), stem.value.weights()
        query, key = stem.query.weight, stem.key.weight
        y = reference.attended(
            Arguments(pixels, query, key, value, mixture, stem.row, stem.column, stem.heads, stem.scale)
        )
        y = y.unflatten(3, (BLOCK, BLOCK)).transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, : x.shape[2], : x.shape[3]]
        return nn.functional.max_pool2d(stem.bn(y.permute(0, 3, 1, 2)).relu(), BLOCK, BLOCK, ceil_mode=True)


def stems(quick: bool) -> dict[str, nn.Module]:
    """By name: the convolution, and each attention stem, without `quick` in plain PyTorch, too."""
    found: dict[str, nn.Module] = {"convolution": build_stem("conv", 3, CHANNELS, MIXTURES, AttentionOptions())}
    for name, kind in KINDS.items():
        found[name] = build_stem(kind, 3, CHANNELS, MIXTURES, AttentionOptions())
        if not quick:
            found[f"{name}, plain PyTorch"] = Plain(AttentionStem(kind, 3, CHANNELS, MIXTURES, AttentionOptions()))
    return found


def run(device: torch.device, dtype: torch.dtype, batch: int, quick: bool) -> list[dict[str, Any]]:
    """Rows of the table: seconds of a forward and backward pass, images a second and peak memory."""
    steps = {name: both(stem, device, dtype, batch, SIDE) for name, stem in stems(quick).items()}
    return measured("stems", steps, batch, 3 if quick else 7, device)


def both(stem: nn.Module, device: torch.device, dtype: torch.dtype, batch: int, side: int) -> Step:
    """Forward and backward pass in training; channels last, under autocast for a lower precision."""
    stem = stem.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    images = torch.randn(batch, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            output = stem(images)
        output.backward(torch.ones_like(output))
        stem.zero_grad(set_to_none=True)

    return step
