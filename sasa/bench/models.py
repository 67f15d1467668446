"""Training steps of whole networks: the paper's attention networks against ResNet-50, at 224 pixels and at demo scale."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from sasa.bench.measure import Step, alternate
from sasa.models.resnet import ResNet
from sasa.nn.attention import AttentionOptions

SIDE = 224
BASELINE = "ResNet-50 (torchvision)"
CONV_STEM, FULL = "SASA-50, conv stem", "SASA-50, full"
CLASSIFIERS: dict[str, Callable[[], nn.Module]] = {
    BASELINE: torchvision.models.resnet50,
    CONV_STEM: ResNet,
    FULL: partial(ResNet, stem="attention_spatial_values"),
}
DEMO_SIDE, DEMO_BATCH = 64, 64


def networks(quick: bool) -> dict[str, nn.Module]:
    """By name: ResNet-50, SASA-50 with the convolution stem and in full, and Table 4's other extents."""
    compared = {name: CLASSIFIERS[name]() for name in (BASELINE, CONV_STEM)}
    if not quick:
        compared["ResNet-50 (ours)"] = ResNet(groups=("convolution",) * 4)
        compared[FULL] = CLASSIFIERS[FULL]()
        for extent in (3, 5, 9, 11):
            compared[f"SASA-50, conv stem, k = {extent}"] = ResNet(options=AttentionOptions(extent=extent))
    return compared


def narrow() -> dict[str, nn.Module]:
    """By name: ResNet-50 and both forms of SASA-50 as at demo scale, a quarter as wide."""
    demo: dict[str, Any] = {"width": 0.25, "options": AttentionOptions(heads=2, stem_heads=2), "num_classes": 10}
    return {
        "ResNet-50": ResNet(groups=("convolution",) * 4, **demo),
        CONV_STEM: ResNet(**demo),
        FULL: ResNet(stem="attention_spatial_values", **demo),
    }


def run(device: torch.device, dtype: torch.dtype, batch: int, quick: bool, compiled: bool) -> list[dict[str, Any]]:
    """Rows of both tables: a training step's seconds, images a second and peak memory."""
    steps = {x: training_step(y, device, dtype, batch, compiled) for x, y in networks(quick).items()}
    rows = measured("models", steps, batch, 3 if quick else 5, device)
    demo = {x: training_step(y, device, dtype, DEMO_BATCH, compiled, DEMO_SIDE, 10) for x, y in narrow().items()}
    return rows + measured("demo", demo, DEMO_BATCH, 5 if quick else 9, device)


def measured(table: str, steps: dict[str, Step], batch: int, rounds: int, device: torch.device) -> list[dict[str, Any]]:
    """Rows of a table of networks' training steps."""
    results = alternate({name: {"step": step} for name, step in steps.items()}, rounds, device)
    return [
        {
            "table": table,
            "network": name,
            "step_ms": 1e3 * result.median("step"),
            "images_a_second": batch / result.median("step"),
            "cpu_ms": 1e3 * result.cpu_median("step"),
            "peak_mb": None if result.peak is None else result.peak / 1e6,
            "failure": result.failure,
        }
        for name, result in results.items()
    ]


def training_step(
    network: nn.Module,
    device: torch.device,
    dtype: torch.dtype,
    batch: int,
    compiled: bool,
    side: int = SIDE,
    classes: int = 1000,
) -> Step:
    """Forward, loss, backward and an SGD step; channels last, under autocast for a lower precision."""
    network = network.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    images = torch.randn(batch, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(classes, (batch,), device=device)
    run = torch.compile(network) if compiled else network

    def step() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = F.cross_entropy(run(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
