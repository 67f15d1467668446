"""Rows of a sweep in other processes, and sweeps that share their work: real launchers, real second processes."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, TINY, Ended, Fork, call, end, environment, module, only, start

from sasa.records import files
from sasa.sweep import threads
from sasa.train.device import first_free

WIDTH = "scale.width=0.0625"
LONG = [*(word for word in TINY if "epochs=1" not in word), WIDTH]
ENDLESS = "train.epochs=5000"  # what does not end before its signal comes, however late that is
LAUNCHERS = [
    pytest.param("joblib", marks=pytest.mark.skipif(not find_spec("joblib"), reason="the extra joblib")),
    pytest.param("ray", marks=pytest.mark.skipif(not find_spec("ray"), reason="the extra ray")),
]


def results(output: Path) -> list[dict[str, Any]]:
    """What is recorded of each run."""
    return [json.loads(path.read_text()) for path in output.glob("table*/*/*/result.json")]


def status(output: Path) -> dict[str, str]:
    """What has become of each row."""
    return {one["row"]: one["status"] for one in results(output)}


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str] | Fork, seconds: float = 600) -> None:
    """Until something is so; AssertionError where the process ends before, or takes too long."""
    started = time.monotonic()
    while not condition():
        assert process.poll() is None, end(process).text
        assert time.monotonic() - started < seconds
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_rows_are_stopped_resumed_finished_and_failed_ones_named(launcher: str, tmp_path: Path) -> None:
    """The same command, stopped by Ctrl-C in other processes, and started again in this one."""
    output = tmp_path / "out it"
    command = ["-m", "table6=position", "train.optimizer=nesterof,nesterov", *LONG, "train.epochs=12"]
    command += [f"output={output}"]
    process = start(*command, f"hydra/launcher={launcher}", fresh=True)
    wait_until(lambda: list(output.glob("table6/*/*/metrics.jsonl")), process)
    row = json.loads(only(output, "table6/*/*/metrics.jsonl").with_name("result.json").read_text())["pid"]
    os.kill(row, signal.SIGSTOP)  # it is in its first epochs, however long the other one takes to fail
    wait_until(lambda: "failed" in {one["status"] for one in results(output)}, process)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: list(output.glob(".sweep/*/stop")), process)
    os.kill(row, signal.SIGCONT)
    stopped = end(process)
    assert stopped.code == 130, stopped.text
    assert "The same command goes on with what is left:" in stopped.out
    interrupted, failed = sorted(results(output), key=lambda one: one["status"], reverse=True)
    assert (interrupted["status"], failed["status"]) == ("interrupted", "failed")
    assert interrupted["pid"] != process.pid

    ended = end(start(*command))
    assert ended.code == 1, ended.text
    expected = (
        "failed  train.optimizer=nesterof: train.optimizer=nesterof: timm has no such optimizer. Did you mean nesterov"
    )
    for told in (stopped, ended):
        assert "Traceback" not in told.text
        assert next(line for line in told.err.splitlines() if line.startswith("failed")).startswith(expected)
    finished = next(one for one in results(output) if one["status"] == "finished")
    assert finished["epochs_done"] == 12
    assert f"{finished['accuracy']['test']['top1']:.1f}" in ended.out.split("Table 6", 1)[1]
    log = next(path for path in output.glob("table6/*/*/run.log") if "finished:" in path.read_text()).read_text()
    assert log.count("epoch 1/12") == 1  # it went on, and did not begin again


@pytest.mark.slow
def test_a_row_whose_process_is_killed_is_named(tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    command = ["-m", "table5=none", *LONG, ENDLESS, f"output={tmp_path}", "hydra/launcher=joblib"]
    process = start(*command, fresh=True)
    wait_until(lambda: list(tmp_path.glob("table5/*/*/metrics.jsonl")), process)
    os.kill(json.loads(next(tmp_path.glob("table5/*/*/result.json")).read_text())["pid"], signal.SIGKILL)
    ended = end(process)
    assert ended.code == 1
    assert "Traceback" not in ended.text
    assert ended.err.splitlines()[-1].startswith("failed  table5=none: its process ended without a word")


@pytest.mark.slow
def test_two_sweeps_at_once_share_their_rows(tmp_path: Path) -> None:
    command = ["-m", "table5=glob(*)", WIDTH, *TINY, f"output={tmp_path}"]
    one, two = start(*command), start(*command)
    ended: list[Ended] = [end(one), end(two)]
    for sweep in ended:
        assert sweep.code == 0, sweep.text
        assert "rows missing" not in sweep.out
        assert sweep.out.count("table5=") >= 3
    assert status(tmp_path) == dict.fromkeys(("none", "absolute", "relative"), "finished")
    trained = [sweep.out.count("epoch 1/1") for sweep in ended]
    assert sum(trained) == 3, (ended[0].out, ended[1].out)
    assert not list((tmp_path / ".sweep").iterdir())


@pytest.mark.slow
def test_a_sweep_waits_for_a_row_of_another_and_takes_over_what_a_dead_one_left(tmp_path: Path) -> None:
    row = [*LONG, ENDLESS, f"output={tmp_path}", "train.checkpoint_minutes=0"]
    other = start("table5=none", *row)
    wait_until(lambda: list(tmp_path.glob("table5/*/*/checkpoint.pt")), other)
    process = start("-m", "table5=none", *row)
    wait_until(lambda: process.out.endswith("waiting for it\n"), process)
    assert f"table5=none is being trained by process {other.pid} on" in process.out
    assert "going on from step" not in process.out
    other.kill()
    other.wait()
    wait_until(lambda: "epoch" in process.out.partition("going on from step")[2], process)
    process.send_signal(signal.SIGINT)
    assert end(process).code == 130


@pytest.mark.slow
def test_rows_that_a_killed_sweep_did_not_come_to_are_told_until_another_one_has_them(tmp_path: Path) -> None:
    output = tmp_path / "out it"
    process = start("-m", "table5=none", "seed=0", *LONG, "train.epochs=5000,1", f"output={output}")
    wait_until(lambda: list(output.glob("table5/*/*/metrics.jsonl")), process)
    process.kill()
    process.wait()
    told = module("sasa.report", "status", "--output", output).out
    assert told.splitlines()[0].endswith(": 1 interrupted, 1 missing")
    (command,) = re.findall(
        r"^missing +table5=none .*train.epochs=1,.*ended before; to go on: python run.py (.*)", told, re.M
    )
    assert (output / ".sweep").exists()
    ended = call("-m", *reversed(shlex.split(command)))
    assert ended.code == 0, ended.text
    assert "1 finished, 1 interrupted\n" in module("sasa.report", "status", "--output", output).out
    assert not list((output / ".sweep").iterdir())


def test_rows_at_once_share_the_cores() -> None:
    cores = files.cores()
    joblib = {"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "n_jobs": -1}
    assert threads(joblib, 100) == 1
    assert threads(joblib, 1) == threads(joblib | {"n_jobs": 1}, 100) == cores
    local = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"}
    assert threads(local, 1) == cores
    assert threads(local, 2 * cores) == 1


HOLDER = """
import sys
from pathlib import Path
from sasa.train.device import first_free
with first_free(["a", "b"], Path(sys.argv[1])) as index:
    print(index, flush=True)
    sys.stdin.read()
"""


def test_each_process_has_a_gpu_of_its_own_while_there_are_enough(tmp_path: Path) -> None:
    def hold() -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, env=environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        return process, int(process.stdout.readline())

    (one, first), (two, second) = hold(), hold()
    assert (first, second) == (0, 1)
    with first_free(["a", "b"], tmp_path) as shared:
        assert shared in (0, 1)
    one.communicate("")
    with first_free(["a", "b"], tmp_path) as freed:
        assert freed == 0
    two.kill()
    two.communicate()
    with first_free(["a", "b"], tmp_path) as first_again, first_free(["a", "b"], tmp_path) as second_again:
        assert (first_again, second_again) == (0, 1)


@pytest.mark.slow
def test_images_that_have_changed_under_a_path_are_a_run_of_their_own(pictures: Path, tmp_path: Path) -> None:
    root = shutil.copytree(pictures, tmp_path / "set")
    (root / "train" / "bee" / "7.png").unlink()
    own = [word for word in TINY if "images" not in word]
    command = [
        "table3=conv",
        "data=folder",
        f"data.root={root}",
        "data.classes=4",
        WIDTH,
        *own,
        f"output={tmp_path}/out",
    ]
    first = call(*command)
    assert first.code == 0, first.text
    moved = shutil.move(root, tmp_path / "elsewhere")
    assert "is finished already" in call(*[word.replace(str(root), str(moved)) for word in command]).out
    shutil.copytree(moved, root)
    (root / "train" / "ant" / "0.png").unlink()
    ended = call(*command)
    assert ended.code == 0, ended.text
    assert "The images are others than those of" in ended.out
    assert len(list((tmp_path / "out").glob("table3/conv/*/result.json"))) == 2
