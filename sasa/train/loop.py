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
from sasa.data.samples import Samples, none_readable
from sasa.errors import Diverged, Stopped
from sasa.models.build import set_bn_decay
from sasa.records.folder import Record
from sasa.train import checkpoint, ranks
from sasa.train.batch_norm import Running
from sasa.train.classification import Classification
from sasa.train.detection import Detection
from sasa.train.display import Display
from sasa.train.exact import ExactSum
from sasa.train.hunger import Hunger
from sasa.train.interrupt import Interrupt, goes_on
from sasa.train.metrics import Meter
from sasa.train.optim import averaged, optimizer, schedule
from sasa.train.track import Tracker


@dataclass
class Progress:
    """Where a run stands: what a checkpoint holds beside its tensors."""

    epoch: int = 0  # epochs done
    step: int = 0  # steps done of the next epoch
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
        ranks.check_share(self.accumulate, f"train.batch={train.batch} train.micro_batch={train.micro_batch}")
        self.share = self.accumulate // ranks.size()  # micro-batches of each step that are this rank's
        self.steps_per_epoch = micro_batches // self.accumulate
        self.steps = train.epochs * self.steps_per_epoch

        self.layout = torch.channels_last if train.channels_last else torch.contiguous_format
        self.model = model.to(device).to(memory_format=self.layout)
        set_bn_decay(self.model, train.bn_decay)
        self.forward: Callable[..., Any] = task.compiled(self.model) if train.compile else self.model
        self.optimizer = optimizer(self.model, train)
        self.schedule = schedule(self.optimizer, train, self.steps_per_epoch)
        self.average = averaged(self.model, train)
        self.trained = [value for value in self.model.parameters() if value.requires_grad]
        self.running = Running(self.model)
        self.sum: ExactSum | None = None  # of gradients and running statistics, where a step has several micro-batches
        if self.accumulate > 1:
            self.sum = ExactSum([*self.trained, *self.running.values])
            self.sum.take_gradients(self.trained)

        self.progress = Progress()
        self.meter = Meter(task.measures, device)  # since the last line of metrics
        self.hunger = Hunger(config.data)
        self.losses: list[tuple[int, Tensor]] = []  # not yet looked at, so that a GPU need not wait at each step
        self.interrupt = Interrupt()
        self.stop: int | None = None  # the signal that came to a rank, once all of them know
        self.saved = self.ended = time.monotonic()  # when the last checkpoint was written, and the last epoch over

    @property
    def steps_done(self) -> int:
        """Steps of all epochs so far."""
        return self.progress.epoch * self.steps_per_epoch + self.progress.step

    @property
    def best(self) -> nn.Module:
        """The weights that are evaluated: the moving average if there is one."""
        return self.average.module if self.average else self.model

    def run(self, console: Console, tracker: Tracker) -> dict[str, Any]:
        """Train what is left, and return the measures on the test images.

        Stopped (after a checkpoint) on Ctrl-C or SIGTERM; Diverged if the loss is not finite.
        """
        progress = self.progress
        self.record.write_metrics(progress.history)
        title = self.record.identity.title + (f" seed={self.config.seed}" if self.config.seed else "")
        display = Display(console, title, self.steps, self.steps_done, self.record.place)
        with self.interrupt, display:
            while progress.epoch < self.config.train.epochs:
                self.train_epoch(display, tracker)
                if len(self.splits.validation):
                    self.note_validation(self.validate(), display, tracker)
                self.keep()
                progress.epoch, progress.step = progress.epoch + 1, 0
                self.save()
                self.meet()
                self.obey()
            self.ended = time.monotonic()
            if ranks.size() > 1:  # a signal to one of them is for all, when they meet
                means = self.evaluate(self.splits.test)
                self.obey()
                return means
        return self.evaluate(self.splits.test)

    def train_epoch(self, display: Display, tracker: Tracker) -> None:
        """The steps that are left of an epoch."""
        train, progress = self.config.train, self.progress
        left = range(progress.step * self.accumulate, self.steps_per_epoch * self.accumulate)
        loader = train_loader(
            self.splits,
            self.config.data,
            seed=self.config.seed,
            epoch=progress.epoch,
            batch=train.micro_batch,
            numbers=[number for number in left if number % self.accumulate // self.share == ranks.rank()],
            device=self.device,
        )
        batches = self.hunger.timed(loader)
        images, seconds = progress.images, progress.seconds  # at the last line of metrics
        started = time.monotonic()
        while progress.step < self.steps_per_epoch:
            self.train_step(list(islice(batches, self.share)))
            progress.step += 1
            if line := self.steps_done % train.log_steps == 0 or progress.step == self.steps_per_epoch:
                self.check_losses()  # waits for the device, whose work belongs into the seconds
            progress.seconds += time.monotonic() - started
            if line and progress.images > images:
                passed = progress.seconds - seconds
                self.note_training((progress.images - images) / passed, self.hunger.share(passed), display, tracker)
                images, seconds = progress.images, progress.seconds
            if self.stop or time.monotonic() - self.saved > 60 * train.checkpoint_minutes:
                self.save()
                self.obey()
            started = time.monotonic()
        if not progress.images:
            raise none_readable(len(self.splits.train), progress.skipped)

    def train_step(self, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        """One update, from this rank's micro-batches of images and labels on the device, and from those of the others."""
        self.model.train()
        self.schedule.step_update(self.steps_done)
        if self.sum:
            self.running.begin()
        rows = []
        for number, (images, labels) in enumerate(batches, ranks.rank() * len(batches)):
            seed_everything(self.config.seed, self.steps_done, 1, number)  # so that mixing depends on nothing else
            rows.append(self.micro_batch(images, labels))
        sizes = [len(images) for images, _ in batches]
        images_read, micro_batches = self.meet(sum(sizes), len(sizes) - sizes.count(0))
        self.progress.images += images_read
        for row in ranks.rows_of_all(torch.stack(rows)):
            self.meter.add(row[:-1])
            self.losses.append((self.steps_done, row[-1]))
        if micro_batches:
            self.update(micro_batches)

    def micro_batch(self, images: Tensor, labels: Tensor) -> Tensor:
        """Add the gradients and running statistics of a micro-batch to a step's; returns its sums for the meter, and its loss."""
        if not len(images):  # all of them are broken
            return torch.zeros(2 + len(self.task.measures), dtype=torch.float64, device=self.device)
        images = images.contiguous(memory_format=self.layout)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.train.amp):
            loss, sums = self.task.loss(self.forward, images, labels)
        loss.backward()
        if self.sum:
            self.sum.add(len(self.trained), *self.running.values)
            self.running.go_back()
        return torch.cat([sums, loss.detach().double()[None]])

    def update(self, micro_batches: int) -> None:
        """Move weights, running statistics and averages by the means over so many micro-batches of a step."""
        if self.sum:
            ranks.sum_of_all(self.sum.units)
            means = self.sum.means(micro_batches)
            for value, mean in zip(self.trained, means, strict=False):
                value.grad = mean
            self.running.end(means[len(self.trained) :])
        for value in self.trained:
            if value.grad is None:
                value.grad = torch.zeros_like(value)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average:
            self.average.update(self.model, self.steps_done + 1)

    def meet(self, *counts: int) -> list[int]:
        """Sums of counts over all ranks, which learn of the broken images that others met, and of a signal to any of them."""
        splits, known = self.splits, {*self.progress.skipped}
        broken = sorted({*splits.train.skipped, *splits.validation.skipped, *splits.test.skipped} - known)
        signal = self.interrupt.number
        sums, news = ranks.agree(*counts, news=(signal, broken) if signal or broken else None)
        for number, names in news:
            self.stop = self.stop or number
            self.progress.skipped = sorted({*self.progress.skipped, *names})
        return sums

    def obey(self) -> None:
        """Raise Stopped if a signal that is to be obeyed came to any rank."""
        if not self.stop:  # one that has come since they met is for the next meeting
            return
        if not goes_on(self.stop):
            raise Stopped(self.stop)
        self.stop = self.interrupt.number = None

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
        batch, share = self.config.train.micro_batch, {"rank": ranks.rank(), "ranks": ranks.size()}
        loader = eval_loader(dataset, self.config.data, batch=batch, device=self.device, **share)
        means: dict[str, Any] = dict(self.task.evaluate(model or self.best, loader, dataset))
        self.meet()
        return means

    def picture(self, dataset: Samples) -> Path:
        """The path of samples.png: a sheet of the first images of a split, and what the evaluated weights make of them."""
        path = self.record.path("samples.png")
        self.task.picture(self.best, dataset, path, self.device)
        return path

    def note_training(self, speed: float, hungry: float, display: Display, tracker: Tracker) -> None:
        """The means since the last line of metrics; beside them what images cost: how many a second, and waiting for them."""
        means = self.meter.means()
        self.meter = Meter(self.task.measures, self.device)
        self.note("train", means | {"lr": self.optimizer.param_groups[0]["lr"]}, tracker)
        display.step(self.steps_done, self.epoch, self.task.summary(means), speed, hungry)
        if advice := self.hunger.advice():
            display.line(advice)
            self.record.log(advice)

    def note_validation(self, means: dict[str, Any], display: Display, tracker: Tracker) -> None:
        """The measures after an epoch, and for detection a picture."""
        self.note("validation", means, tracker)
        if self.task.draws_each_epoch and self.record.writes:
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
        if not self.record.writes:
            return
        epoch, every = self.progress.epoch + 1, self.config.train.keep_epochs
        if every and epoch % every == 0:
            checkpoint.save_weights(self.record.path(f"epoch_{epoch}.safetensors"), self.best)
        results = [line[self.task.result] or 0.0 for line in self.progress.history if line["split"] == "validation"]
        if results and results[-1] == max(results):
            checkpoint.save_weights(self.record.path("best.safetensors"), self.best)

    def save(self) -> None:
        """Write the checkpoint, unless the loss or the weights have diverged since the last one."""
        if not self.record.writes:
            return
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
