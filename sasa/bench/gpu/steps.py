"""Training steps of classifiers and detectors beside torchvision's, eager or compiled: images a second, memory, kernels."""

from collections.abc import Sequence

import torch

from sasa.bench import detectors, models
from sasa.bench.gpu.runner import Row, Tell
from sasa.bench.gpu.setting import Setting
from sasa.bench.measure import Step, kernels

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
    """Steps of one classifier after the other; without rounds they are compiled, and no more."""
    batch, side = size_of_classifiers(setting)
    with setting.taken(alone=rounds > 0) as device:
        for name in names:
            step = models.training_step(models.CLASSIFIERS[name](), device, setting.dtype, batch, compiled, side)
            tell(measured("networks", name, step, batch, rounds, device) | {"compiled": compiled})


def detect(setting: Setting, names: Sequence[str], compiled: bool, rounds: int, tell: Tell) -> None:
    """Steps of one detector after the other; without rounds they are compiled, and no more."""
    batch, side = size_of_detectors(setting)
    with setting.taken(alone=rounds > 0) as device:
        networks = detectors.networks(side, [name for name in names if name != detectors.BASELINE])
        for name in names:
            network = networks.pop(name)
            step = detectors.training_step(network, device, setting.dtype, batch, side, compiled=compiled)
            tell(measured("detectors", name, step, batch, rounds, device) | {"compiled": compiled})


def measured(table: str, name: str, step: Step, batch: int, rounds: int, device: torch.device) -> Row:
    """The row of one network, with its step's largest kernels and the time of all."""
    (row,) = models.measured(table, {name: step}, batch, rounds, device)
    if row["failure"] or not rounds:
        return row
    found = kernels(step, device)
    return row | {"device_ms": sum(ms for _, ms in found), "kernels": found[:LARGEST]}
