"""Encoded photographs to training views in one process: ours against timm's and torchvision's, and the decoders alone."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from timm.data import create_transform
from torchvision.transforms import v2

from sasa.bench.measure import Step, alternate
from sasa.config.choices import Augment
from sasa.data.pictures import decoded
from sasa.data.transforms import View
from sasa.errors import InputError

SIDE, SIZE = 224, (466, 390)  # of the view, and ImageNet's mean width and height
AREA = (0.08, 1.0)
QUALITY = 90
MOST = 128


def photographs(root: Path) -> list[bytes]:
    """The first JPEGs of a folder, at ImageNet's mean size."""
    paths = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")][:MOST]
    if not paths:
        raise InputError(f"--images {root} has no JPEGs: give a folder of photographs")
    encoded = []
    for path in paths:
        file = io.BytesIO()
        Image.open(path).convert("RGB").resize(SIZE, Image.Resampling.BICUBIC).save(file, "JPEG", quality=QUALITY)
        encoded.append(file.getvalue())
    return encoded


def run(root: Path, rounds: int) -> list[dict[str, Any]]:
    """Rows of the table: images a second."""
    encoded, view = photographs(root), View(SIDE, 0.875, Augment.crop_flip, AREA[0])
    timms = create_transform(
        (3, SIDE, SIDE), is_training=True, scale=AREA, interpolation="bicubic", color_jitter=0.0, use_prefetcher=True
    )
    torchvisions = v2.Compose(
        [
            v2.RandomResizedCrop(SIDE, AREA, interpolation=v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
        ]
    )

    def pillow(one: bytes) -> Image.Image:
        return Image.open(io.BytesIO(one)).convert("RGB")

    contenders: dict[str, Callable[[bytes], object]] = {
        "view (ours)": lambda one: view(decoded(one), len(one)),
        "view (timm)": lambda one: timms(pillow(one)),
        "view (torchvision)": lambda one: torchvisions(pillow(one)),
        "decoding (ours)": decoded,
        "decoding (Pillow)": pillow,
    }

    def all_of(contender: Callable[[bytes], object]) -> Step:
        return lambda: [contender(one) for one in encoded]

    steps = {name: {"step": all_of(contender)} for name, contender in contenders.items()}
    results = alternate(steps, rounds, torch.device("cpu"))
    return [
        {
            "table": "images",
            "network": name,
            "step_ms": 1e3 * result.median("step") / len(encoded),
            "images_a_second": len(encoded) / result.median("step"),
            "cpu_ms": 1e3 * result.cpu_median("step") / len(encoded),
            "peak_mb": None,
            "failure": result.failure,
        }
        for name, result in results.items()
    ]
