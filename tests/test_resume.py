"""A run that is stopped or killed at any moment and started again ends bit for bit as if it had not been."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Ended, Fork, call, end, only, start, stopped

from sasa.errors import InputError
from sasa.train import checkpoint

pytestmark = pytest.mark.slow

# Everything that could tell a resumed run from a whole one: augmentation, mixing, gradients added up, an average of the
# weights, sums of metrics that span checkpoints, a broken image that is left out, and a row of attention.
RECIPE = (
    "table3=conv12",
    "backbone=resnet26",
    "scale.width=0.0625",
    "data=folder",
    "data.classes=4",
    "data.size=32",
    "data.skip_broken=true",
    "data.validation=0.1",
    "train.epochs=3",
    "train.batch=16",
    "train.micro_batch=8",
    "train.mixup=0.4",
    "train.cutmix=0.5",
    "train.label_smoothing=0.1",
    "train.log_steps=3",
    "tracker=none",
)


@pytest.fixture(scope="module")
def recipe(pictures: Path) -> list[str]:
    return [*RECIPE, f"data.root={pictures}"]


@pytest.fixture(scope="module")
def whole(recipe: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run that nothing has disturbed."""
    output = tmp_path_factory.mktemp("whole")
    ended = call(*recipe, "data.workers=0", f"output={output}")
    assert ended.code == 0, ended.text
    assert json.loads(only(output).read_text())["skipped_images"] == 1
    return only(output).parent


def assert_alike(folder: Path, whole: Path) -> None:
    """Weights, average, optimizer, metrics and result are the same bits."""
    mine, theirs = (torch.load(path / "checkpoint.pt", weights_only=True) for path in (folder, whole))
    for part in ("model", "model_ema"):
        assert mine[part].keys() == theirs[part].keys()
        for name, value in mine[part].items():
            assert torch.equal(value, theirs[part][name]), f"{part} {name}"
    for index, state in mine["optimizer"]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, theirs["optimizer"]["state"][index][name]), f"optimizer {index} {name}"
    assert (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    mine, theirs = (json.loads((path / "result.json").read_text()) for path in (folder, whole))
    for name in ("status", "accuracy", "epochs_done", "skipped_images", "skipped", "costs", "key"):
        assert mine[name] == theirs[name], name
    assert mine["status"] == "finished"
    assert not list(folder.glob(".*"))


def lines(output: Path) -> int:
    """How many lines of metrics a run has written."""
    return sum(path.read_text().count("\n") for path in output.glob("**/metrics.jsonl"))


def writes(output: Path) -> Callable[[], int]:
    """A function that counts the checkpoints that it has seen come."""
    seen: set[tuple[int, int]] = set()

    def count() -> int:
        for path in output.glob("**/checkpoint.pt"):
            seen.add((path.stat().st_ino, path.stat().st_mtime_ns))
        return len(seen)

    first = count()
    return lambda: count() - first


def stop(process: Fork, number: int, when: Callable[[], bool], delay: float = 0) -> Ended:
    """Send a signal to a run as soon as something is so, unless it has ended well by then."""
    limit = time.monotonic() + 600
    while not when() and process.poll() != 0:
        assert process.poll() is None, end(process).text
        assert time.monotonic() < limit
        time.sleep(0.001)
    time.sleep(delay)
    process.send_signal(number)
    return end(process)


def test_killed_again_and_again_with_a_checkpoint_after_each_step(
    recipe: list[str], whole: Path, tmp_path: Path
) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    chance = random.Random(seed)
    command = [*recipe, f"output={tmp_path}", "train.checkpoint_minutes=0"]
    for workers in (0, 2):
        process = start(*command, f"data.workers={workers}")
        count, wanted = writes(tmp_path), chance.randint(1, 5)  # the next step is under way, or a write of its state
        killed = stop(process, signal.SIGKILL, lambda n=wanted, c=count: c() >= n, chance.uniform(0, 0.1))
        if killed.code == 0:  # a quick machine
            break
        assert killed.code == -signal.SIGKILL, killed.text
        assert json.loads(only(tmp_path).read_text())["status"] == "running"
    ended = call(*command)
    assert ended.code == 0, ended.text
    assert "going on from step" in ended.out or killed.code == 0
    assert_alike(only(tmp_path).parent, whole)


def test_killed_with_rare_checkpoints_and_in_the_final_evaluation(
    recipe: list[str], whole: Path, tmp_path: Path
) -> None:
    command = [*recipe, f"output={tmp_path}", "train.checkpoint_minutes=1000"]
    killed = [stopped("SIGKILL", "train_step", 5, *command)]  # of epoch 1: nothing is kept
    assert lines(tmp_path) == 1
    killed += [stopped("SIGKILL", "train_step", 14, *command)]  # in epoch 2
    with only(tmp_path, "**/metrics.jsonl").open("a") as file:
        file.write('{"split": "tra')  # as after a crash in the middle of a line
    (only(tmp_path).parent / ".checkpoint.pt.1.tmp").write_bytes(b"as after a crash in the middle of a checkpoint")
    only(tmp_path).write_text("")
    killed += [stopped("SIGKILL", "picture", 1, *command, "data.workers=1")]  # while it concludes
    assert [one.code for one in killed] == [-signal.SIGKILL] * 3, killed[-1].text
    ended = call(*command)
    assert ended.code == 0, ended.text
    assert_alike(only(tmp_path).parent, whole)


def test_asked_to_stop_it_leaves_a_checkpoint_that_a_run_of_another_table_takes_up(
    recipe: list[str], whole: Path, tmp_path: Path
) -> None:
    command = [*recipe, f"output={tmp_path}", "train.checkpoint_minutes=1000"]
    for number, step, workers in ((signal.SIGTERM, 5, 2), (signal.SIGINT, 12, 0)):
        ended = stopped(number.name, "train_step", step, *command, f"data.workers={workers}")
        assert ended.code == 128 + number, ended.text
        assert "Traceback" not in ended.text
        assert "Stopped. The same command goes on from the last checkpoint:\n  python run.py table3=conv12" in ended.out
        result = json.loads(only(tmp_path).read_text())
        assert (result["status"], result["reason"]) == ("interrupted", "stopped by the user")
        state = torch.load(only(tmp_path, "**/checkpoint.pt"), weights_only=True)
        assert len(state["progress"]["history"]) == lines(tmp_path)
    ended = call("layers=conv12", *command[1:], "data.workers=1")
    assert ended.code == 0, ended.text
    assert "going on from step" in ended.out
    assert_alike(only(tmp_path, "run/**/result.json").parent, whole)


def test_a_damaged_checkpoint_is_refused_and_never_half_used(tmp_path: Path) -> None:
    path, state = tmp_path / "checkpoint.pt", {"key": "k", "model": {"weight": torch.randn(50, 50)}}
    checkpoint.save(path, state)
    good = path.read_bytes()
    chance = random.Random(0)
    for attempt in range(60):
        bad = bytearray(good)
        if attempt % 3 == 0:
            del bad[chance.randrange(len(bad)) :]
        else:
            place, length = chance.randrange(len(bad)), 1 if attempt % 3 == 1 else 512
            bad[place : place + length] = bytes(byte ^ 0xFF for byte in bad[place : place + length])
        path.write_bytes(bad)
        try:
            loaded = checkpoint.load(path)
        except InputError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:  # what was hit means nothing, such as padding
            assert torch.equal(loaded["model"]["weight"], state["model"]["weight"])
