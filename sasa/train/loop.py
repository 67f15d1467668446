"""Training, of either task, from the first step or from a checkpoint to the end: Sections 4.1 and 4.2."""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from sasa.config.schema import Config
from sasa.data.build import batches_per_epoch, eval_loader, train_loader
from sasa.data.samples import Samples
from sasa.errors import Diverged, Interrupted
from sasa.records.folder import Record
from sasa.train import checkpoint
from sasa.train.classification import Classification
from sasa.train.detection import Detection
from sasa.train.display import Display
from sasa.train.interrupt import Interrupt
from sasa.train.metrics import Meter
from sasa.train.optim import averaged, optimizer, schedule
from sasa.train.track import Tracker


@dataclass
class Progress:
    """Where a run stands: all of it, with the weights, that a checkpoint holds."""

    epoch: int = 0  # epochs done
    step: int = 0  # steps done of the next epoch
    batches: int = 0  # micro-batches read of the next epoch; a wholly broken one makes no part of a step
    history: list[dict[str, Any]] = field(default_factory=list)  # the lines of metrics.jsonl
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)  # the meter since the last line
    images: int = 0
    seconds: float = 0.0
    skipped: list[str] = field(default_factory=list)  # broken images


def seed_everything(*parts: int) -> None:
    """Seed Python, NumPy and torch from a tuple of numbers."""
    state = np.random.SeedSequence(parts).generate_state(2, np.uint32)
    random.seed(int(state[0]))
    np.random.seed(int(state[0]))
    torch.manual_seed((int(state[0]) << 32) + int(state[1]))


class Trainer:
    """A network, its task and its recipe; `run` trains it to the end and leaves the weights to evaluate in `best`."""

    def __init__(
        self,
        model: nn.Module,
        task: Classification | Detection,
        config: Config,
        device: torch.device,
        record: Record,
    ) -> None:
        train = config.train
        self.config, self.task, self.splits, self.device, self.record = config, task, task.splits, device, record
        layout = torch.channels_last if train.channels_last else torch.contiguous_format
        self.model = model.to(device).to(memory_format=layout)
        self.forward: Callable[..., Any] = task.compiled(self.model) if train.compile else self.model
        self.accumulate = train.batch // train.micro_batch
        micro_batches = batches_per_epoch(len(self.splits.train), train.micro_batch)
        self.steps_per_epoch = max(1, micro_batches // self.accumulate)
        self.accumulate = min(self.accumulate, micro_batches)
        self.steps = train.epochs * self.steps_per_epoch
        self.optimizer = optimizer(self.model, train)
        self.schedule = schedule(self.optimizer, train, self.steps_per_epoch)
        self.average = averaged(self.model, train)
        self.progress = Progress()
        self.losses: list[tuple[int, Tensor]] = []  # not yet looked at, so that a GPU need not wait at each step

    @property
    def steps_done(self) -> int:
        """Steps of all epochs so far."""
        return self.progress.epoch * self.steps_per_epoch + self.progress.step

    @property
    def best(self) -> nn.Module:
        """The weights that are evaluated: the moving average if there is one."""
        return self.average.module if self.average else self.model

    def save(self) -> None:
        """Write the checkpoint, unless the loss or the weights have diverged since the last one."""
        self.check_losses()
        if not all(bool(value.isfinite().all()) for value in self.model.state_dict().values()):
            done = self.progress.epoch * self.steps_per_epoch + self.progress.step
            raise Diverged(f"the weights are not finite after step {done} of {self.steps}: try a lower train.lr")
        state = {
            "key": self.record.key,
            "model": self.model.state_dict(),
            "average": self.average.module.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress) | {"sums": self.meter.sums.tolist()},
        }
        checkpoint.save(self.record.path("checkpoint.pt"), state)

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.model.load_state_dict(state["model"])
        if self.average:
            self.average.module.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])

    def check_losses(self) -> None:
        """Raise Diverged at the first step whose loss is not finite."""
        for step, loss in self.losses:
            if not math.isfinite(loss.item()):
                raise Diverged(f"the loss is {loss.item()} at step {step + 1} of {self.steps}: try a lower train.lr")
        self.losses.clear()

    def run(self, console: Console, tracker: Tracker) -> None:
        """Train what is left. Interrupted (after a checkpoint) on Ctrl-C or SIGTERM; Diverged if the loss is not finite."""
        train, progress = self.config.train, self.progress
        self.record.write_metrics(progress.history)
        self.meter = Meter(self.task.measures, self.device, progress.sums)
        done = self.steps_done
        self.saved = time.monotonic()
        with Interrupt() as interrupt, Display(console, self.record.identity.title, self.steps, done) as display:
            self.shown = (time.monotonic(), progress.images)
            while progress.epoch < train.epochs:
                self.train_epoch(interrupt, display, tracker)
                self.note({"split": "validation"} | self.evaluate(self.splits.validation), tracker)
                if self.task.draws_each_epoch:
                    tracker.picture("samples", self.picture(self.splits.validation), progress.history[-1]["step"])
                self.end_epoch(display)
                if interrupt.number is not None:
                    self.save()
                    raise Interrupted(interrupt.number)

    def train_epoch(self, interrupt: Interrupt, display: Display, tracker: Tracker) -> None:
        """The steps that are left of an epoch."""
        train, progress = self.config.train, self.progress
        loader = train_loader(
            self.splits,
            self.config.data,
            seed=self.config.seed,
            epoch=progress.epoch,
            batch=train.micro_batch,
            start_batch=progress.batches,
            device=self.device,
        )
        skipped = set(progress.skipped)
        batches = iter(loader)
        while progress.step < self.steps_per_epoch:
            started = time.monotonic()
            step = self.steps_done
            gathered = list(islice(batches, self.accumulate))
            if not gathered:
                break
            self.train_step(step, gathered)
            progress.step += 1
            progress.batches = loader.position
            progress.skipped = sorted(skipped | set(loader.skipped))
            progress.seconds += time.monotonic() - started
            if (step + 1) % train.log_steps == 0 or progress.step == self.steps_per_epoch:
                self.check_losses()
                self.show(step + 1, display)
                lr = self.optimizer.param_groups[0]["lr"]
                self.note({"split": "train", **self.meter.means(), "lr": lr}, tracker)
                self.meter = Meter(self.task.measures, self.device)
            if interrupt.number is not None:
                self.save()
                raise Interrupted(interrupt.number)
            if time.monotonic() - self.saved > 60 * train.checkpoint_minutes:
                self.save()
                self.saved = time.monotonic()

    def train_step(self, step: int, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        """One update, from micro-batches of images and labels on the device."""
        self.model.train()
        seed_everything(self.config.seed, step, 1)  # so that mixing depends on the step alone
        self.schedule.step_update(step)
        self.optimizer.zero_grad(set_to_none=True)
        layout = torch.channels_last if self.config.train.channels_last else torch.contiguous_format
        for images, labels in batches:
            images = images.contiguous(memory_format=layout)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.train.amp):
                loss, sums = self.task.loss(self.forward, images, labels)
            (loss / len(batches)).backward()
            self.meter.add(len(images), sums)
            self.losses.append((step, loss.detach()))
            self.progress.images += len(images)
        self.optimizer.step()
        if self.average:
            self.average.update(self.model)

    def show(self, step: int, display: Display) -> None:
        """Bring the display up to date."""
        now, images = time.monotonic(), self.progress.images
        speed = (images - self.shown[1]) / max(now - self.shown[0], 1e-9)
        self.shown = (now, images)
        epoch = f"{self.progress.epoch + 1}/{self.config.train.epochs}"
        display.step(step, epoch, self.task.summary(self.meter.means()), speed)

    def end_epoch(self, display: Display) -> None:
        """Count the epoch; the checkpoint after it holds its validation too."""
        last = self.progress.history[-1]
        self.progress.epoch, self.progress.step, self.progress.batches = self.progress.epoch + 1, 0, 0
        self.shown = (time.monotonic(), self.progress.images)
        epoch = f"epoch {self.progress.epoch}/{self.config.train.epochs}"
        display.line(f"{epoch}  validation  {self.task.summary(last)}")
        self.record.log(f"{epoch} validation {self.task.summary(last)}")
        if time.monotonic() - self.saved > 1 or self.progress.epoch == self.config.train.epochs:
            self.save()
            self.saved = time.monotonic()

    def evaluate(self, dataset: Samples) -> dict[str, Any]:
        """The task's measures of the evaluated weights on a split."""
        loader = eval_loader(dataset, self.config.data, batch=self.config.train.micro_batch, device=self.device)
        means: dict[str, Any] = dict(self.task.evaluate(self.best, loader, dataset))
        self.progress.skipped = sorted({*self.progress.skipped, *loader.skipped})
        return means

    def picture(self, dataset: Samples) -> Path:
        """The path of samples.png: a sheet of the first images of a split, and what the evaluated weights make of them."""
        path = self.record.path("samples.png")
        self.task.picture(self.best, dataset, path, self.device)
        return path

    def note(self, values: dict[str, Any], tracker: Tracker) -> None:
        """A line of metrics: to the history, to metrics.jsonl and to the tracker."""
        step = self.steps_done
        line = {"split": values.pop("split"), "epoch": self.progress.epoch + 1, "step": step, **values}
        self.progress.history.append(line)
        self.record.add_metrics(line)
        tracker.log(line)
