"""What the training loop leaves, obeys and says: metrics, checkpoints, lost losses, signals, waiting; its device and tracker."""

import io
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from test_data_loaders import data
from test_recipe import Plain, small, trained, trainer_of

from sasa.config.schema import Config
from sasa.errors import Diverged, InputError, Stopped
from sasa.records.result import Run
from sasa.train import checkpoint
from sasa.train.device import taken_device
from sasa.train.hunger import Hunger
from sasa.train.metrics import hits
from sasa.train.session import check_images, last_checkpoint, sizes
from sasa.train.track import Tracker, open_tracker


def plain(config: Config) -> Plain:
    torch.manual_seed(0)
    return Plain(config.data.classes)


def test_a_checkpoint_holds_all_that_training_goes_on_with(tmp_path: Path) -> None:
    config = small(tmp_path, "train.ema_decay=0.9")
    ended, _ = trained(config, plain(config))
    steps = ended.steps_per_epoch
    lines = [(line["split"], line["epoch"], line["step"]) for line in ended.progress.history]
    assert lines == [
        *(("train", 1, step + 1) for step in range(steps)),
        ("validation", 1, steps),
        *(("train", 2, step + 1) for step in range(steps, 2 * steps)),
        ("validation", 2, 2 * steps),
    ]
    again = trainer_of(config, plain(config))
    state = last_checkpoint(again.record, again.splits)
    assert state is not None
    again.load(state)
    assert again.progress == ended.progress
    assert again.steps_done == again.steps == 2 * steps
    assert ended.average is not None
    assert again.average is not None
    for one, other in ((again.model, ended.model), (again.average.module, ended.average.module)):
        assert torch.equal(one.fc.weight, other.fc.weight)
    assert not torch.equal(again.model.fc.weight, again.average.module.fc.weight)
    momenta = [trainer.optimizer.state[trainer.model.fc.weight]["momentum_buffer"] for trainer in (again, ended)]
    assert torch.equal(*momenta)

    checkpoint.save(again.record.path("checkpoint.pt"), state | {"key": "another"})
    with pytest.raises(InputError, match="is of another configuration"):
        last_checkpoint(again.record, again.splits)


def test_a_checkpoint_of_other_images_is_refused(tmp_path: Path) -> None:
    parts, path = trainer_of(small(tmp_path)).splits, Path("checkpoint.pt")
    begun = Run(scale="demo", seed=0, variant="", images=sizes(parts))
    check_images(begun, parts, path)
    check_images(None, parts, path)
    with pytest.raises(InputError, match=r"other images in data\.root \(7 test images, now 8\)"):
        check_images(replace(begun, images={**begun.images, "test": 7}), parts, path)


def test_a_loss_that_is_not_finite_is_named_by_its_step(tmp_path: Path) -> None:
    config = small(tmp_path, "train.lr=1e38", "train.warmup_epochs=0")
    with pytest.raises(Diverged, match=r"the loss is (nan|inf) at step 2 of 8: try a lower train\.lr"):
        trained(config, plain(config))


def test_a_signal_ends_training_after_the_next_step_with_a_checkpoint(tmp_path: Path) -> None:
    class Asked(Tracker):
        def log(self, line: dict[str, Any]) -> None:
            if line["step"] == 1:
                signal.raise_signal(signal.SIGTERM)

    config = small(tmp_path)
    trainer = trainer_of(config, plain(config))
    with pytest.raises(Stopped, match="SIGTERM"):
        trainer.run(Console(quiet=True), Asked())
    assert trainer.steps_done == 2
    assert checkpoint.load(trainer.record.path("checkpoint.pt"))["progress"]["step"] == 2


def test_top_1_and_top_5_are_shares_of_the_images_in_percent() -> None:
    logits = torch.arange(8.0).flip(0).repeat(3, 1)
    images, loss, top1, top5 = hits(torch.tensor(2.0), logits, torch.tensor([0, 4, 5])).tolist()
    assert (images, loss / images) == (3, 2)
    assert (top1 / images, top5 / images) == pytest.approx((100 / 3, 200 / 3))


def test_waiting_for_images_is_told_once_where_it_takes_much_and_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """From three tenths of the time on, and five seconds. The first batch of an epoch does not count."""
    clock = [0.0]
    monkeypatch.setattr("sasa.train.hunger.time", SimpleNamespace(monotonic=lambda: clock[0]))

    def share(hungry: Hunger, passed: float, *seconds: float) -> float:
        def batches() -> Iterator[float]:
            for wait in seconds:
                clock[0] += wait
                yield wait

        assert list(hungry.timed(batches())) == [*seconds]
        return hungry.share(passed)

    hungry = Hunger(data())
    assert share(hungry, 8, 60, 1, 3) == 0.5
    assert hungry.advice() == ""  # 4 s
    assert share(hungry, 2, 60, 1) == 0.5
    assert hungry.advice().startswith(
        "50% of the time goes into waiting for images. What helps and stays the same run: "
    )
    assert hungry.advice() == ""
    busy = Hunger(data())
    assert share(busy, 100, 60, 29) == 0.0
    assert busy.advice() == ""


def test_the_cpu_is_taken_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with taken_device("cpu", tmp_path) as device:
        assert device.type == "cpu"


def test_a_tracker_without_its_package_is_refused_or_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def opened(kind: str) -> tuple[Tracker, str]:
        config = small(tmp_path, f"tracker={kind}")
        console = Console(file=io.StringIO(), width=200)
        tracker = open_tracker(config, {}, trainer_of(config, plain(config)).record, console)
        return tracker, console.file.getvalue()

    for package in ("wandb", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match="tracker=tensorboard needs the package tensorboard: pip install tensorboard"):
        opened("tensorboard")
    tracker, said = opened("wandb")
    assert type(tracker) is Tracker
    assert said.startswith("W&B could not start (import of wandb halted")
    assert said.endswith("): this run is kept in its own files only\n")
