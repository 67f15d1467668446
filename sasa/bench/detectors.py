"""Training steps of Table 2's detectors against torchvision's RetinaNet."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import retinanet_resnet50_fpn

from sasa.bench.measure import Step
from sasa.bench.models import measured
from sasa.config import compose
from sasa.config.identity import at_paper_size
from sasa.models.build import detector
from sasa.report.paper import TABLES

SIDE, CLASSES, OBJECTS = 640, 90, 8
BASELINE = "RetinaNet (torchvision)"


def networks(size: int, rows: Sequence[str]) -> dict[str, nn.Module]:
    """By name: torchvision's retinanet_resnet50_fpn, all of it trained, and rows of Table 2."""
    sides = {"min_size": size, "max_size": size}
    compared: dict[str, nn.Module] = {
        BASELINE: retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES, **sides)
    }
    compose.register()
    for row in rows:
        compared[row] = detector(at_paper_size(compose.compose_row([f"table2={row}"])))
    return compared


def run(device: torch.device, dtype: torch.dtype, batch: int, quick: bool) -> list[dict[str, Any]]:
    """Rows of the table: a training step's seconds, images a second and peak memory."""
    size = SIDE // 4 if quick else SIDE
    compared = networks(size, [row.name for row in TABLES["table2"].rows])
    steps = {name: training_step(network, device, dtype, batch, size) for name, network in compared.items()}
    return measured("detectors", steps, batch, 3, device)


def training_step(
    network: nn.Module,
    device: torch.device,
    dtype: torch.dtype,
    batch: int,
    size: int,
    classes: int = CLASSES,
    compiled: bool = False,
) -> Step:
    """Forward, losses, backward and an SGD step; channels last, under autocast for a lower precision."""
    network = network.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    if compiled:  # what has one shape, whatever the boxes
        for part in (network.get_submodule("backbone"), network.get_submodule("head")):
            part.compile(dynamic=False)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, nesterov=True)
    images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    targets = [objects(size, classes, device) for _ in range(batch)]

    def step() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            losses = network(list(images), targets)
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def objects(size: int, classes: int, device: torch.device) -> dict[str, Tensor]:
    """Boxes (x0, y0, x1, y1) of a twentieth to half of the image, and their classes."""
    sides = size * (0.05 + 0.45 * torch.rand(OBJECTS, 2))
    corners = torch.rand(OBJECTS, 2) * (size - sides)
    labels = torch.randint(classes, (OBJECTS,), device=device)
    return {"boxes": torch.cat([corners, corners + sides], 1).to(device), "labels": labels}
