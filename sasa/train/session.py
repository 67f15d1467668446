"""The work of one run: check everything, count the costs, train, evaluate, write the result."""

import logging
import math
import platform
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from sasa import ops
from sasa.config.choices import TaskKind
from sasa.config.identity import at_paper_size
from sasa.cost import cost, cost_and_layers
from sasa.data.build import Splits, splits
from sasa.errors import Diverged, InputError, RankLost, Stopped
from sasa.models.build import network
from sasa.records.files import now
from sasa.records.folder import Record
from sasa.records.result import Costs, Run, read_result
from sasa.records.source import commit
from sasa.train import checkpoint, ranks
from sasa.train.classification import Classification
from sasa.train.detection import Detection
from sasa.train.device import taken_device
from sasa.train.loop import Trainer, seed_everything
from sasa.train.pretrained import load_weights
from sasa.train.track import Tracker, open_tracker


def train(record: Record, console: Console, send_table: Callable[[Record, Tracker], None]) -> None:
    """Train what is left of a run, and record what came of it; send_table gives the tracker its table of the paper."""
    ranks.from_first(record.for_others())
    with ranks.one_for_all(), taken_device(record.config.device, record.output) as device:
        train_on(device, record, console, send_table)


def lead(work: Callable[[], int]) -> int:
    """Do the work of rank 0, in whose trainings the others take part until it ends; returns the exit status."""
    ranks.join()
    try:
        return work()
    finally:
        with suppress(RankLost, ranks.Told):
            ranks.from_first(None)


def follow() -> int:
    """Take part in whatever rank 0 trains, until it ends; returns the exit status. Nothing is written or said but by rank 0."""
    logging.disable(logging.WARNING)  # by which libraries tell each rank the same
    ranks.join()
    while True:
        try:
            record = ranks.from_first(None)
            if record is None:
                return 0
            with ranks.one_for_all(), taken_device(record.config.device, record.output) as device:
                train_on(device, record, Console(quiet=True), lambda *_: None)
        except RankLost:
            return 1
        except (Stopped, Exception):  # rank 0 has it, too
            continue


def train_on(
    device: torch.device, record: Record, console: Console, send_table: Callable[[Record, Tracker], None]
) -> None:
    """The same on one device of each rank."""
    config = record.config
    backend = ops.resolve(config.kernel.backend, device, torch.bfloat16 if config.train.amp else torch.float32)
    (costs, layers), paper_costs = cost_and_layers(config), cost(at_paper_size(config))
    detection = config.task.kind is TaskKind.detection
    data = splits(config.data, boxes=detection)
    seed_everything(config.seed, 0)
    model = network(config)
    if config.backbone.weights is not None and record.writes:
        record.log(f"starting from {load_weights(model, config)}")
    ranks.begin_alike(model)
    task = Detection(config, data) if detection else Classification(config, data)
    trainer = Trainer(model, task, config, device, record)
    check_same_images(data)
    state = ranks.from_first(last_checkpoint(record, data) if record.writes else None)
    if state:
        trainer.load(state)
        console.print(f"going on from step {trainer.steps_done} of {trainer.steps}")
    record.log(f"{record.identity.command} on {device}, attention by {backend}, key {record.key}")
    record.write_json("costs.json", {"layers": layers})
    record.write_json("classes.json", {"names": data.classes})
    tracker = open_tracker(config, asdict(config), record, console)
    record.write_result(
        "running",
        data=config.data.name,
        images=sizes(data),
        epochs=config.train.epochs,
        steps_per_epoch=trainer.steps_per_epoch,
        costs=Costs(**costs),
        paper_costs=Costs(**paper_costs),
        backend=backend,
        device=torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine(),
        commit=commit(),
        versions={name: version(name) for name in ("torch", "torchvision", "timm", "sasa")},
        tracker_url=tracker.url,
    )
    done = False
    try:
        conclude(trainer, record, trainer.run(console, tracker))
        for name in ("samples", "attention"):
            if record.path(f"{name}.png").exists():
                tracker.picture(name, record.path(f"{name}.png"))
        send_table(record, tracker)
        done = True
    finally:
        tracker.close({**scores(record), **costs, "paper": paper_costs, "backend": backend}, failed=not done)


def check_same_images(data: Splits) -> None:
    """InputError where the images of this rank's machine are not as many as those of rank 0's."""
    first, here = ranks.from_first(sizes(data)), sizes(data)
    if first != here:
        raise InputError(
            f"data.root has {here} images on {socket.gethostname()}, and {first} on the machine of rank 0: "
            "give all machines the same"
        )


def last_checkpoint(record: Record, data: Splits) -> dict[str, Any] | None:
    """The furthest checkpoint of this key, of this folder or of another one that was left unfinished."""
    best: tuple[tuple[int, int], dict[str, Any]] | None = None
    for folder in (record.folder, *record.others()):
        path = folder / "checkpoint.pt"
        if path.exists():
            state = checkpoint.load(path)
            if state["key"] != record.key:
                raise InputError(
                    f"{path} is of another configuration. Remove it, or give another folder with output=<folder>"
                )
            place = (state["progress"]["epoch"], state["progress"]["step"])
            if best is None or place > best[0]:
                check_images(record.run if folder == record.folder else read_result(folder), data, path)
                best = (place, state)
    return best[1] if best else None


def check_images(begun: Run | None, data: Splits, path: Path) -> None:
    """InputError where a checkpoint is of a run that began with other numbers of images."""
    before, here = begun.images if begun else {}, sizes(data)
    changes = [f"{before[split]} {split} images, now {here[split]}" for split in before if before[split] != here[split]]
    if changes:
        raise InputError(
            f"{path} is of a run with other images in data.root ({', '.join(changes)}): bring those back, "
            "remove that folder to train on these, or give another one with output=<folder>"
        )


def sizes(data: Splits) -> dict[str, int]:
    """How many images each split has."""
    return {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)}


def conclude(trainer: Trainer, record: Record, test: dict[str, Any]) -> None:
    """Save a sheet of test images, and write the result with the measures on them."""
    progress, config = trainer.progress, record.config
    if not math.isfinite(test.get("loss", 0.0)):
        raise Diverged(f"the loss on the test images is {test['loss']}: try a lower train.lr")
    if not record.writes:
        return
    trainer.picture(trainer.splits.test)
    checkpoint.save_weights(record.path("weights.safetensors"), trainer.best)
    last = next((line for line in reversed(progress.history) if line["split"] == "validation"), None)
    accuracy = ({"validation": {name: last[name] for name in test}} if last else {}) | {"test": test}
    record.write_result(
        "finished",
        accuracy=accuracy,
        memory=peak_memory(trainer.device),
        epochs_done=progress.epoch,
        seconds=round(progress.seconds + time.monotonic() - trainer.ended, 2),
        images_per_second=round(progress.images / max(progress.seconds, 1e-9), 2),
        skipped_images=len(progress.skipped),
        skipped=progress.skipped[:100],
        finished=now(),
    )
    measures = ", ".join(f"{split} {trainer.task.summary(means)}" for split, means in accuracy.items())
    record.log(f"finished: {measures}, {config.scale.name}")


def scores(record: Record) -> dict[str, float]:
    """What a run came to, as split/measure."""
    return {
        f"{split}/{name}": value for split in record.run.accuracy for name, value in record.run.measured(split).items()
    }


def peak_memory(device: torch.device) -> int | None:
    """The most memory held so far, in bytes: tensors on a GPU, or this process (None on Windows)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource  # Windows has none
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
