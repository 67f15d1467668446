"""How fast a configuration trains and evaluates on this machine: some steps of it, as the training takes them."""

import platform
import tempfile
import time
from dataclasses import dataclass, replace
from itertools import islice

import torch

from sasa.bench.measure import alternate, synchronize
from sasa.config.choices import TaskKind
from sasa.config.identity import Identity, at_paper_size
from sasa.config.schema import Config
from sasa.cost import cost, cost_and_layers
from sasa.data.build import splits, train_loader
from sasa.data.samples import Samples
from sasa.models.build import network
from sasa.records.folder import Record
from sasa.train.classification import Classification
from sasa.train.detection import Detection
from sasa.train.loop import Trainer

SECONDS = 10.0  # of training that are looked at
LEAST_STEPS = 3


@dataclass(frozen=True)
class Pace:
    """Images a second of training and of evaluation, and seconds before the first step."""

    training: float
    evaluation: float
    start: float = 0.0


def device_name() -> str:
    """The present device as a run records it."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()


def measured(config: Config) -> Pace:
    """Train some steps and evaluate some images; nothing is kept."""
    device = torch.device("cuda" if torch.cuda.is_available() and config.device != "cpu" else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        record = Record(replace(config, output=folder), Identity(None, None, (), ""))
        detection = config.task.kind is TaskKind.detection
        data = splits(config.data, boxes=detection)
        task = Detection(config, data) if detection else Classification(config, data)
        trainer = Trainer(network(config), task, config, device, record)
        cost_and_layers(config), cost(at_paper_size(config))  # as a run does
        loader = train_loader(data, config.data, seed=0, epoch=0, batch=config.train.micro_batch, device=device)
        batches = iter(loader)
        trainer.train_step(list(islice(batches, trainer.accumulate)))  # compiles, and chooses kernels
        synchronize(device)
        start = time.perf_counter() - began
        images, steps, began = trainer.progress.images, 0, time.perf_counter()
        while steps < LEAST_STEPS or time.perf_counter() - began < SECONDS:
            if not (gathered := list(islice(batches, trainer.accumulate))):
                break
            trainer.train_step(gathered)
            synchronize(device)
            steps += 1
        training = (trainer.progress.images - images) / (time.perf_counter() - began)
        few = some(data.test, max(config.train.micro_batch, round(training * SECONDS / 2)))
        trainer.evaluate(few)
        began = time.perf_counter()
        trainer.evaluate(few)
        synchronize(device)
        return Pace(training, len(few) / (time.perf_counter() - began), start)


def some(samples: Samples, count: int) -> Samples:
    """The first of some samples."""
    return Samples(samples.source, samples.indices[:count], samples.mean, samples.std)


def peak_flops() -> float:
    """FLOP/s of a large matrix product on the present device, in bfloat16 on a GPU and float32 on a CPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    side, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    result = alternate({"product": {"product": lambda: matrix @ matrix}}, 5, device)["product"]
    return 2 * side**3 / result.median("product")
