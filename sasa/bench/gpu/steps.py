"""Training steps of classifiers and detectors beside torchvision's, eager or compiled: images a second, memory, kernels."""

from collections.abc import Callable, Sequence
from functools import partial

import torchvision
from torch import nn

from sasa.bench import detectors, models
from sasa.bench.gpu.runner import Row, Tell
from sasa.bench.gpu.setting import Setting
from sasa.bench.measure import kernels
from sasa.models.resnet import ResNet

CLASSIFIERS: dict[str, Callable[[], nn.Module]] = {
    models.BASELINE: torchvision.models.resnet50,
    "SASA-50, conv stem": ResNet,
    "SASA-50, full": partial(ResNet, stem="attention_spatial_values"),
}
DETECTORS = (detectors.BASELINE, "conv_baseline", "attention_full")  # torchvision's, and rows of Table 2
LARGEST = 10  # kernels of a step that are told
SMALL = 32  # pixels a side, to try the code; of detectors twice as many


def size_of_classifiers(setting: Setting) -> tuple[int, int]:
    """Images of a step, and their side."""
    return setting.batch, SMALL if setting.small else models.SIDE


def size_of_detectors(setting: Setting) -> tuple[int, int]:
    """The same: a sixteenth of the images, which are larger."""
    return max(1, setting.batch // 16), 2 * SMALL if setting.small else detectors.SIDE


def classify(setting: Setting, names: Sequence[str], compiled: bool, rounds: int, tell: Tell) -> None:
    """Steps of classifiers; without rounds they are compiled, and no more."""
    batch, side = size_of_classifiers(setting)
    with setting.taken() as device:
        size = device, setting.dtype, batch, compiled, side
        steps = {name: models.training_step(CLASSIFIERS[name](), *size) for name in names}
        for row in models.measured("networks", steps, batch, rounds, device):
            tell(with_kernels(row, rounds, lambda name: kernels(steps[name], device)) | {"compiled": compiled})


def detect(setting: Setting, names: Sequence[str], compiled: bool, rounds: int, tell: Tell) -> None:
    """Steps of detectors; without rounds they are compiled, and no more."""
    batch, side = size_of_detectors(setting)
    with setting.taken() as device:
        networks = detectors.networks(side, [name for name in names if name != detectors.BASELINE])
        steps = {
            name: detectors.training_step(networks[name], device, setting.dtype, batch, side, compiled=compiled)
            for name in names
        }
        for row in models.measured("detectors", steps, batch, rounds, device):
            tell(with_kernels(row, rounds, lambda name: kernels(steps[name], device)) | {"compiled": compiled})


def with_kernels(row: Row, rounds: int, of: Callable[[str], list[tuple[str, float]]]) -> Row:
    """The row, with the step's largest kernels and the time of all."""
    if row["failure"] or not rounds:
        return row
    found = of(row["network"])
    return row | {"device_ms": sum(ms for _, ms in found), "kernels": found[:LARGEST]}
