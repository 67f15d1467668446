"""Weights & Biases: what is in the offline run, read back with wandb's own reader, and what never is."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT, TINY, call, end, environment, only, start, stopped
from wandb_server import Server

from sasa.ops.build import cache
from sasa.records import source
from sasa.records.files import now, seconds_between
from sasa.train.track import LIMITS, TensorBoardTracker

pytestmark = pytest.mark.slow

SMALL = (*(setting for setting in TINY if not setting.startswith("tracker")), "scale.width=0.0625")
KEY = "0123456789abcdef" * 2 + "01234567"  # of the form that W&B expects


def records(run: Path) -> list[dict[str, Any]]:
    """A .wandb file by `wandb leet inspect`."""
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def files(output: Path) -> list[Path]:
    """Offline runs, oldest first."""
    return sorted(output.glob("**/*.wandb"), key=lambda path: path.stat().st_mtime)


def test_an_offline_run_holds_all_of_it_and_keeps_its_id_when_it_goes_on(tmp_path: Path) -> None:
    command = ["table5=none", "tracker.project=trial", "train.checkpoint_minutes=0", *SMALL, f"output={tmp_path}"]
    first = stopped("SIGTERM", "train_step", 3, *command)
    assert first.code == 143, first.text
    repository_of(tmp_path / "changed")  # which git takes for sasa's by its variables, and W&B does not
    changed = {"GIT_DIR": str(tmp_path / "changed" / ".git"), "GIT_WORK_TREE": str(tmp_path / "changed")}
    ended = call(*command, cwd=tmp_path, **changed)
    assert ended.code == 0, ended.text
    assert "going on from step " in ended.out
    assert "W&B: kept offline; `wandb sync " in ended.out

    result = json.loads(only(tmp_path).read_text())
    assert len(files(tmp_path)) == 2
    for path, code in zip(files(tmp_path), (1, 0), strict=True):
        assert path.name == f"run-{result['key']}.wandb"
        content = records(path)
        (run,) = [record["run"] for record in content if record["type"] == "run"]
        assert (run["run_id"], run["project"], run["run_group"]) == (result["key"], "trial", "table5")
        assert run["display_name"].startswith("table5=none seed=0,backbone=resnet26")
        assert run["config"]["update"]["position"]["encoding"] == "none"
        assert run["job_type"] == "classification"
        assert [run["config"]["update"][name] for name in ("table", "row")] == ["table5", "none"]
        assert run["config"]["update"]["train"]["batch"] == 16
        assert content[-1]["exit"]["exit_code"] == code

    assert b"-before\n+after" in (files(tmp_path)[-1].parent / "files" / "diff.patch").read_bytes()
    if (ROOT / ".git").exists():
        head = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True
        ).stdout.strip()
        assert run["git"]["commit"] == head
        assert any(
            one["path"] == "diff.patch"
            for record in content
            if record["type"] == "files"
            for one in record["files"]["files"]
        )

    summary: dict[str, Any] = {}
    for record in content:
        if record["type"] == "summary":
            summary |= record["summary"].get("update", {})
    assert summary["test/top1"] == result["accuracy"]["test"]["top1"]
    assert summary["validation/top1"] == result["accuracy"]["validation"]["top1"]
    assert (summary["flops"], summary["params"]) == (result["costs"]["flops"], result["costs"]["params"])
    assert summary["paper"] == result["paper_costs"]
    assert summary["published/validation/top1"] == 77.6
    goals = {one["metric"]["name"]: one["metric"]["summary"] for one in content if one["type"] == "metric"}
    assert goals["validation/top1"] == {"max": True, "last": True}
    history = [record["history"]["item"] for record in content if record["type"] == "history"]
    curve = [json.loads(line) for line in only(tmp_path, "**/metrics.jsonl").read_text().splitlines()]
    assert curve[-1]["split"] == "validation"
    assert any(item.get("validation/loss") == curve[-1]["loss"] for item in history)
    assert any("samples.path" in item for item in history)
    table = json.loads((files(tmp_path)[-1].parent / "files" / summary["table5.path"]).read_text())
    assert table["columns"][:2] == ["row", "status"]
    assert [row[table["columns"].index("status")] for row in table["data"]].count("finished") == 1


def test_a_key_without_a_network_is_written_nowhere_and_the_run_finishes_offline(tmp_path: Path) -> None:
    nobody = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:9"}  # where nothing listens
    kept = {
        "HOME": str(tmp_path),
        "WANDB_DIR": str(tmp_path / "out" / "kept"),
        "TORCH_EXTENSIONS_DIR": str(cache().parent),
    }
    named = {"WANDB_PROJECT": "trial", "WANDB_TAGS": "one, two,"}
    (tmp_path / "out" / "kept").mkdir(parents=True)
    ended = call("table5=none", *SMALL, f"output={tmp_path}/out", **nobody, **kept, **named)
    assert ended.code == 0, ended.text
    assert "Traceback" not in ended.text
    assert "tracking offline" in ended.out
    assert json.loads(only(tmp_path / "out").read_text())["status"] == "finished"
    kept_there = records(only(tmp_path / "out" / "kept", "**/*.wandb"))
    (run,) = [record["run"] for record in kept_there if record["type"] == "run"]
    assert (run["project"], run["tags"]) == ("trial", ["demo", "one", "two"])
    for folder, _, names in os.walk(tmp_path):
        for name in names:
            assert KEY.encode() not in Path(folder, name).read_bytes(), name
    assert KEY not in ended.text


def test_a_key_that_is_none_and_a_service_that_dies_do_not_end_the_run(tmp_path: Path) -> None:
    process = start("table5=none", *SMALL, f"output={tmp_path}", WANDB_API_KEY="short")
    while not list(tmp_path.glob("**/metrics.jsonl")) or not only(tmp_path, "**/metrics.jsonl").read_text():
        assert process.poll() is None, end(process).text
        time.sleep(0.01)
    for folder in Path("/proc").glob("[0-9]*"):  # the service that W&B started for this run
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"wandb" in (folder / "cmdline").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            continue
    ended = end(process)
    assert ended.code == 0, ended.text
    assert "Traceback" not in ended.text
    assert "API key must have" in ended.out
    assert json.loads(only(tmp_path).read_text())["status"] == "finished"


def test_no_tracker_leaves_no_trace(trained: tuple[Path, Any]) -> None:
    assert not list(trained[0].glob("**/*wandb*"))
    assert "W&B" not in trained[1].text


def test_a_server_that_stalls_from_the_start_leaves_the_run_offline(tmp_path: Path) -> None:
    with Server("stalls") as server:
        ended = call("table5=none", *SMALL, f"output={tmp_path}", **account(server), WANDB_HTTP_TIMEOUT="2")
    assert ended.code == 0, ended.text
    assert "tracking offline" in ended.out
    assert json.loads(only(tmp_path).read_text())["status"] == "finished"
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize("mood", ["vanishes", "refuses"])
def test_a_server_that_is_lost_in_mid_run_keeps_no_run_waiting_and_gets_the_rest_later(
    mood: str, tmp_path: Path
) -> None:
    limits = {"WANDB_HTTP_TIMEOUT": "20", "WANDB_INIT_TIMEOUT": "300", "WANDB_FINISH_TIMEOUT": "2"}
    with Server(later=mood) as server:
        ended = call("table5=none", *SMALL, f"output={tmp_path}", **account(server), **limits)
    assert server.mood == mood
    assert ended.code == 0, ended.text
    assert "Traceback" not in ended.text
    result = json.loads(only(tmp_path).read_text())
    assert result["status"] == "finished"
    waited = seconds_between(result["finished"], now())
    assert waited is not None
    assert waited < 2 + LIMITS["finish_timeout"] / 2  # the limit that is given here, and what a busy machine adds to it
    assert "W&B did not take all of this run in 2 seconds: `wandb sync " in ended.out
    words = shlex.split(ended.out.partition("2 seconds: `")[2].partition("`")[0])
    with Server() as server:
        command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
        subprocess.run(command, check=True, capture_output=True, env=environment(**account(server)), timeout=300)
    curve = [json.loads(line) for line in only(tmp_path, "**/metrics.jsonl").read_text().splitlines()]
    for split in ("train", "validation"):
        sent = [line[f"{split}/loss"] for line in server.lines if f"{split}/loss" in line]
        assert sent == [line["loss"] for line in curve if line["split"] == split]


def account(server: Server) -> dict[str, str]:
    """The variables of somebody who is logged in there."""
    return {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.address}


def test_tensorboard_has_the_same_values(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    ended = call("table5=none", "tracker=tensorboard", *SMALL, f"output={tmp_path}")
    assert ended.code == 0, ended.text
    events = accumulator.EventAccumulator(str(only(tmp_path, "**/tensorboard")))
    events.Reload()
    curve = [json.loads(line) for line in only(tmp_path, "**/metrics.jsonl").read_text().splitlines()]
    for split in ("train", "validation"):
        wanted = [(line["step"], line["loss"]) for line in curve if line["split"] == split]
        assert [(one.step, one.value) for one in events.Scalars(f"{split}/loss")] == [
            (step, pytest.approx(loss)) for step, loss in wanted
        ]
    assert events.Scalars("published/validation/top1")[0].value == pytest.approx(77.6)
    assert "samples" in events.Tags()["images"]


def test_tensorboard_shows_no_step_twice_of_a_run_that_went_on(tmp_path: Path) -> None:
    """A process that came to the second epoch, and was killed; and one that goes on from the first one's last step."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    lines = [("train", 2, 0.9), ("train", 4, 0.8), ("validation", 4, 0.7), ("train", 6, 0.6), ("train", 8, 0.5)]
    for since, until in ((0, 4), (2, 5)):
        (tmp_path / "metrics.jsonl").write_text("")
        record: Any = SimpleNamespace(path=tmp_path.joinpath)
        tracker = TensorBoardTracker(record)
        for number, (split, step, loss) in enumerate(lines[:until]):
            line = {"split": split, "epoch": 1, "step": step, "loss": loss}
            with (tmp_path / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            if number >= since:
                tracker.log(line)
        tracker.close({}, failed=False)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for split in ("train", "validation"):
        shown = [(one.step, pytest.approx(one.value)) for one in events.Scalars(f"{split}/loss")]
        assert shown == [(step, loss) for kind, step, loss in lines if kind == split]


def test_what_differs_from_the_commit_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "ROOT", tmp_path)
    assert (source.repository(), source.changes()) == (None, b"")
    repository_of(tmp_path)
    assert source.repository() == str(tmp_path)
    for setting in (("color.ui", "always"), ("diff.external", "echo")):  # a user's, which is none of the patch's
        subprocess.run(["git", "-C", str(tmp_path), "config", *setting], check=True)
    assert b"-before\n+after" in source.changes()


def repository_of(folder: Path) -> None:
    """Make one there, with a file that has been changed since its only commit."""
    folder.mkdir(exist_ok=True)
    git = ("git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@x")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-qm", "one"]):
        (folder / "file").write_text("before\n")
        subprocess.run([*git, *words], check=True)
    (folder / "file").write_text("after\n")
