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
from sasa.data.build import eval_loader, train_loader
from sasa.data.loader import batches_per_epoch
from sasa.data.samples import Samples
from sasa.errors import Diverged
from sasa.records.folder import Record
from sasa.train import checkpoint
from sasa.train.batch_norm import moved_once
from sasa.train.classification import Classification
from sasa.train.detection import Detection
from sasa.train.display import Display
from sasa.train.interrupt import Interrupt
from sasa.train.metrics import Meter
from sasa.train.optim import averaged, optimizer, schedule
from sasa.train.track import Tracker


@dataclass
class Progress:
    """Where a run stands: what a checkpoint holds beside its tensors."""

    epoch: int = 0  # epochs done
    step: int = 0  # steps done of the next epoch
    batches: int = 0  # micro-batches read of the next epoch; a wholly broken one makes no part of a step
    images: int = 0
    seconds: float = 0.0  # of training alone
    history: list[dict[str, Any]] = field(default_factory=list)  # the lines of metrics.jsonl
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
        micro_batches = batches_per_epoch(len(self.splits.train), train.micro_batch)
        self.accumulate = min(train.batch // train.micro_batch, micro_batches)
        self.steps_per_epoch = micro_batches // self.accumulate
        self.steps = train.epochs * self.steps_per_epoch

        self.layout = torch.channels_last if train.channels_last else torch.contiguous_format
        self.model = model.to(device).to(memory_format=self.layout)
        self.forward: Callable[..., Any] = task.compiled(self.model) if train.compile else self.model
        self.optimizer = optimizer(self.model, train)
        self.schedule = schedule(self.optimizer, train, self.steps_per_epoch)
        self.average = averaged(self.model, train)

        self.progress = Progress()
        self.meter = Meter(task.measures, device)  # since the last line of metrics
        self.losses: list[tuple[int, Tensor]] = []  # not yet looked at, so that a GPU need not wait at each step
        self.saved = time.monotonic()

    @property
    def steps_done(self) -> int:
        """Steps of all epochs so far."""
        return self.progress.epoch * self.steps_per_epoch + self.progress.step

    @property
    def best(self) -> nn.Module:
        """The weights that are evaluated: the moving average if there is one."""
        return self.average.module if self.average else self.model

    def run(self, console: Console, tracker: Tracker) -> None:
        """Train what is left. Interrupted (after a checkpoint) on Ctrl-C or SIGTERM; Diverged if the loss is not finite."""
        progress = self.progress
        self.record.write_metrics(progress.history)
        title = self.record.identity.title + (f" seed={self.config.seed}" if self.config.seed else "")
        display = Display(console, title, self.steps, self.steps_done, self.record.place)
        with Interrupt() as interrupt, display:
            while progress.epoch < self.config.train.epochs:
                self.train_epoch(interrupt, display, tracker)
                if len(self.splits.validation):
                    self.note_validation(self.validate(), display, tracker)
                self.keep()
                progress.epoch, progress.step, progress.batches = progress.epoch + 1, 0, 0
                self.save()
                interrupt.obey()

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
        batches = iter(loader)
        images, seconds = progress.images, progress.seconds  # at the last line of metrics
        started = time.monotonic()
        while progress.step < self.steps_per_epoch and (gathered := list(islice(batches, self.accumulate))):
            self.train_step(gathered)
            progress.step += 1
            progress.batches = loader.position
            progress.skipped = sorted({*progress.skipped, *loader.skipped})
            if line := self.steps_done % train.log_steps == 0 or progress.step == self.steps_per_epoch:
                self.check_losses()  # waits for the device, whose work belongs into the seconds
            progress.seconds += time.monotonic() - started
            if line:
                speed = (progress.images - images) / (progress.seconds - seconds)
                self.note_training(speed, display, tracker)
                images, seconds = progress.images, progress.seconds
            if interrupt.number is not None or time.monotonic() - self.saved > 60 * train.checkpoint_minutes:
                self.save()
                interrupt.obey()
            started = time.monotonic()

    def train_step(self, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        """One update, from micro-batches of images and labels on the device."""
        self.model.train()
        seed_everything(self.config.seed, self.steps_done, 1)  # so that mixing depends on the step alone
        self.schedule.step_update(self.steps_done)
        self.optimizer.zero_grad(set_to_none=True)
        for images, labels in moved_once(self.model, batches):
            images = images.contiguous(memory_format=self.layout)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.train.amp):
                loss, sums = self.task.loss(self.forward, images, labels)
            (loss / len(batches)).backward()
            self.meter.add(len(images), sums)
            self.losses.append((self.steps_done, loss.detach()))
            self.progress.images += len(images)
        self.optimizer.step()
        if self.average:
            self.average.update(self.model, self.steps_done + 1)

    def check_losses(self) -> None:
        """Raise Diverged at the first step whose loss is not finite."""
        for step, loss in self.losses:
            if not math.isfinite(loss.item()):
                raise Diverged(f"the loss is {loss.item()} at step {step + 1} of {self.steps}: try a lower train.lr")
        self.losses.clear()

    def validate(self) -> dict[str, Any]:
        """The measures on the held-out images; beside those of the averaged weights, as raw_<measure>, of the trained ones."""
        raw = self.evaluate(self.splits.validation, self.model) if self.average else {}
        return self.evaluate(self.splits.validation) | {f"raw_{name}": value for name, value in raw.items()}

    def evaluate(self, dataset: Samples, model: nn.Module | None = None) -> dict[str, Any]:
        """The task's measures of the evaluated weights, or of others, on a split."""
        loader = eval_loader(dataset, self.config.data, batch=self.config.train.micro_batch, device=self.device)
        means: dict[str, Any] = dict(self.task.evaluate(model or self.best, loader, dataset))
        self.progress.skipped = sorted({*self.progress.skipped, *loader.skipped})
        return means

    def picture(self, dataset: Samples) -> Path:
        """The path of samples.png: a sheet of the first images of a split, and what the evaluated weights make of them."""
        path = self.record.path("samples.png")
        self.task.picture(self.best, dataset, path, self.device)
        return path

    def note_training(self, speed: float, display: Display, tracker: Tracker) -> None:
        """The means since the last line of metrics."""
        means = self.meter.means()
        self.meter = Meter(self.task.measures, self.device)
        self.note("train", means | {"lr": self.optimizer.param_groups[0]["lr"]}, tracker)
        display.step(self.steps_done, self.epoch, self.task.summary(means), speed)

    def note_validation(self, means: dict[str, Any], display: Display, tracker: Tracker) -> None:
        """The measures after an epoch, and for detection a picture."""
        self.note("validation", means, tracker)
        if self.task.draws_each_epoch:
            tracker.picture("samples", self.picture(self.splits.validation), self.steps_done)
        text = f"epoch {self.epoch}  validation  {self.task.summary(means)}"
        display.line(text)
        self.record.log(text)

    def note(self, split: str, values: dict[str, Any], tracker: Tracker) -> None:
        """A line of metrics: to the history, to metrics.jsonl and to the tracker."""
        line = {"split": split, "epoch": self.progress.epoch + 1, "step": self.steps_done, **values}
        self.progress.history.append(line)
        self.record.add_metrics(line)
        tracker.log(line)

    @property
    def epoch(self) -> str:
        """The epoch that is under way, for people."""
        return f"{self.progress.epoch + 1}/{self.config.train.epochs}"

    def keep(self) -> None:
        """The evaluated weights as safetensors: of every n-th epoch, and of the best one so far."""
        epoch, every = self.progress.epoch + 1, self.config.train.keep_epochs
        if every and epoch % every == 0:
            checkpoint.save_weights(self.record.path(f"epoch_{epoch}.safetensors"), self.best)
        results = [line[self.task.result] or 0.0 for line in self.progress.history if line["split"] == "validation"]
        if results and results[-1] == max(results):
            checkpoint.save_weights(self.record.path("best.safetensors"), self.best)

    def save(self) -> None:
        """Write the checkpoint, unless the loss or the weights have diverged since the last one."""
        self.check_losses()
        if not all(bool(value.isfinite().all()) for value in self.model.state_dict().values()):
            at = f"after step {self.steps_done} of {self.steps}"
            raise Diverged(f"the weights are not finite {at}: try a lower train.lr")
        state = {
            "key": self.record.key,
            "model": self.model.state_dict(),
            "model_ema": self.average.module.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "meter": self.meter.sums,
            "progress": asdict(self.progress),
        }
        checkpoint.save(self.record.path("checkpoint.pt"), state)
        self.saved = time.monotonic()

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.model.load_state_dict(state["model"])
        if self.average:
            self.average.module.load_state_dict(state["model_ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.meter.sums.copy_(state["meter"])
        self.progress = Progress(**state["progress"])
