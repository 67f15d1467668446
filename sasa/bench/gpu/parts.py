"""What `sasa.bench gpu` does, in what order, and how long each part may take."""

from functools import partial

from sasa.bench import models
from sasa.bench.gpu import exactness, operations, steps, training
from sasa.bench.gpu.runner import Part
from sasa.bench.gpu.setting import Setting

SECONDS = 480.0  # for all of it: the last part, the training run, has what the others leave
SHARDS = 7  # processes that compile and try the kernels, beside those that compile what they are compared with
FIRST = 125.0  # seconds for both
LIMITS = {
    "operation": 55.0,
    "stems": 20.0,
    "networks": 30.0,
    "networks, compiled": 50.0,
    "detectors": 30.0,
    "detectors, compiled": 75.0,
}


def stages(setting: Setting) -> list[list[Part]]:
    """Parts that run side by side, one list after the other."""
    shards, rounds, few = (1, 1, 1) if setting.small else (SHARDS, 20, 10)
    classifiers, detectors = tuple(models.CLASSIFIERS), steps.DETECTORS
    eager, compiled = (slice(1), slice(-1, None)) if setting.small else (slice(None), slice(None))
    together = {f"exactness {n + 1}": partial(exactness.work, setting, n, shards) for n in range(shards)}
    together |= {
        f"compile {side}x{side}x{channels}": partial(operations.work, setting, ((side, channels),), 0)
        for side, channels in operations.maps(setting)
    }
    if not setting.small:  # where nothing is compiled: one will do to try the code
        together |= {f"compile {x}": partial(steps.classify, setting, (x,), True, 0) for x in classifiers}
        together |= {f"compile {x}": partial(steps.detect, setting, (x,), True, 0) for x in detectors}
    alone = {
        "operation": partial(operations.work, setting, operations.maps(setting), rounds),
        "stems": partial(operations.work_stems, setting, rounds),
        "networks": partial(steps.classify, setting, classifiers[eager], False, few),
        "networks, compiled": partial(steps.classify, setting, classifiers[compiled], True, few),
        "detectors": partial(steps.detect, setting, detectors[eager], False, few),
        "detectors, compiled": partial(steps.detect, setting, detectors[compiled], True, few),
    }
    found = [[Part(name, work, FIRST * setting.patience) for name, work in together.items()]]
    found += [[Part(name, work, LIMITS[name] * setting.patience)] for name, work in alone.items()]
    if setting.images:
        found.append([Part("training", partial(training.work, setting), SECONDS * setting.patience)])
    return found
