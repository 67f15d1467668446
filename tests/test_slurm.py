"""Rows as jobs of a real Slurm, which a script sets up on this machine (tests/slurm/cluster.py)."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, TINY, Ended, call, end, environment, only, start
from slurm.cluster import Cluster, lacking, running

# A job of this length may end before it is preempted where the machine is quick.
NOT_NOW = lacking() or ("" if os.environ.get("SASA_SLURM") else "takes minutes of a real Slurm: SASA_SLURM=1 runs it")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(NOT_NOW), reason=NOT_NOW)]
SMALL = [*(word for word in TINY if "epochs=1" not in word), "scale.width=0.0625"]
SECONDS = 240


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    temporary = tempfile.TemporaryDirectory(prefix="slurm", ignore_cleanup_errors=True)  # sockets want short paths
    with temporary as folder, running(Path(folder) / "all", grace=2) as cluster:
        yield cluster


def command(output: Path, *words: str, **settings: Any) -> list[str]:
    """A sweep in jobs of one core, without GPUs."""
    launcher = {"gpus_per_node": 0, "cpus_per_task": 1, "timeout_min": 30} | settings
    told = [f"hydra.launcher.{name}={value}" for name, value in launcher.items()]
    return ["-m", *words, *SMALL, f"output={output}", "hydra/launcher=slurm", *told]


def until(condition: Callable[[], object], what: str, process: subprocess.Popen[str] | None = None) -> None:
    """Wait; AssertionError where it takes too long, or a process ends before."""
    last = time.monotonic() + SECONDS
    while not condition():
        assert process is None or process.poll() is None, end(process).text
        assert time.monotonic() < last, what
        time.sleep(0.2)


def steps(output: Path, row: str) -> int:
    """How far a row has come."""
    lines = [line for path in output.glob(f"{row}/*/metrics.jsonl") for line in path.read_text().splitlines()]
    return int(json.loads(lines[-1])["step"]) if lines else 0


def test_a_row_is_preempted_timed_out_and_loses_its_node_and_ends_with_the_same_bits(
    cluster: Cluster, tmp_path: Path
) -> None:
    """And the process that submitted it is killed; the same command waits for the job, and prints the table."""
    output, row = tmp_path / "jobs", "table5/none"
    words = command(output, "table5=none", "train.epochs=150", "train.checkpoint_minutes=100", partition="low")
    reference = start("table5=none", *SMALL, "train.epochs=150", f"output={tmp_path}/here")

    def state(*fields: str) -> str:
        return cluster.call("squeue", "-h", "-o", " ".join(fields or ("%T",)), "-p", "low").strip()

    def trains_on() -> bool:
        return state() == "RUNNING" and steps(output, row) > before

    before = 0
    first = start(*words, **cluster.environment)
    until(trains_on, "the job begins", first)
    first.kill()
    first.communicate()
    job, node = state("%i", "%N").split()

    busy = call("table5=none", *SMALL, "train.epochs=150", f"output={output}", **cluster.environment)
    assert busy.code == 1
    assert f"table5=none is job {job} of Slurm, running on {node}" in busy.err

    second = start(*words, **cluster.environment)
    high = cluster.call(
        "sbatch", "--parsable", "-p", "high", "-w", node, "-o", "/dev/null", "--wrap", "sleep 60"
    ).strip()
    until(lambda: state("%T").startswith("PENDING"), "the job is preempted")
    before = steps(output, row)
    assert "SIGTERM" not in only(output, f"{row}/*/run.log").read_text()  # it saved, and went on
    until(trains_on, "the job goes on elsewhere", second)
    other = state("%N")
    assert other != node
    cluster.call("scancel", high)

    cluster.call("scancel", "--signal=USR2", job)  # as Slurm does when the time limit is near
    until(lambda: "SIGUSR2" in only(output, f"{row}/*/run.log").read_text(), "the job saves its state")
    before = steps(output, row)
    until(trains_on, "the job goes on after its time limit", second)

    lost = state("%N")
    cluster.kill_node(lost)
    before = steps(output, row)
    until(lambda: state("%T") != "RUNNING", "the node is found to be lost")
    until(trains_on, "the job goes on without its node", second)
    assert state("%N") != lost
    cluster.start_node(lost)

    ended = end(second)
    assert ended.code == 0, ended.text
    assert f"table5=none is with job {job} of Slurm" in ended.out
    assert "rows: 1, different runs: 1; 0 finished, 1 under way, 0 submitted" in ended.out
    assert "Table 5" in ended.out
    past = cluster.call("sacct", "-D", "-n", "-X", "-j", job, "-o", "state,nodelist")
    assert past.split()[::2] == ["PREEMPTED", "REQUEUED", "NODE_FAIL", "COMPLETED"], past
    log = only(output, f"{row}/*/run.log").read_text()
    assert log.count("epoch 1/150") == 1  # it never began again
    assert end(reference).code == 0
    for name in ("weights.safetensors", "best.safetensors"):
        assert only(output, f"**/{name}").read_bytes() == only(tmp_path / "here", f"**/{name}").read_bytes(), name


def test_an_array_of_rows_of_which_one_fails_and_one_is_cancelled(cluster: Cluster, tmp_path: Path) -> None:
    """Rows that are one run are submitted once, also by two sweeps at once."""
    words = command(
        tmp_path, "table4=k7", "train.optimizer=adamw,nesterof,nesterov", "train.epochs=1", array_parallelism=1
    )
    process = start(*words, **cluster.environment)
    until(lambda: "RUNNING" in cluster.call("squeue", "-h", "-o", "%T"), "the first job begins", process)
    cancelled = cluster.call("squeue", "-h", "-r", "-t", "RUNNING", "-o", "%i").strip()
    assert cancelled.endswith("_0")
    cluster.call("scancel", cancelled)
    twin = start(
        *command(tmp_path, "table5=relative", "train.optimizer=nesterov", "train.epochs=1"), **cluster.environment
    )
    ended, other = end(process), end(twin)
    assert ended.code == 1, ended.text
    assert "rows: 3, different runs: 3; 0 finished, 0 under way, 3 submitted" in ended.out
    assert "Traceback" not in ended.text
    second, first = [line for line in ended.err.splitlines() if line.startswith("failed")]
    assert first.startswith("failed  train.optimizer=nesterof: train.optimizer=nesterof: timm has no such optimizer")
    assert f"its job {cancelled} ended before it was finished (CANCELLED" in second
    assert other.code == 0, other.text
    assert "table5=relative is with job " in other.out
    assert "table5=relative is the run of table4/k7/" in other.out

    again = call(*command(tmp_path, "table4=k7", "train.optimizer=nesterov", "train.epochs=1"), **cluster.environment)
    assert "different runs: 1; 1 finished, 0 under way, 0 submitted" in again.out, again.text
    assert not list((tmp_path / ".locks").glob("*.job.json"))


def test_what_slurm_refuses_is_told_in_one_line(cluster: Cluster, tmp_path: Path) -> None:
    ended: Ended = call(*command(tmp_path, "table4=k7", "train.epochs=1", partition="gpus"), **cluster.environment)
    assert ended.code == 2
    assert len(ended.err.strip().splitlines()) == 1, ended.err
    assert "Slurm does not take the jobs: " in ended.err
    assert "nvalid partition" in ended.err


def test_the_script_that_is_killed_leaves_no_daemon() -> None:
    with tempfile.TemporaryDirectory(prefix="slurm", ignore_cleanup_errors=True) as folder:
        script = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/slurm/cluster.py"), f"{folder}/all"],
            env=environment(), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert script.stdout is not None
        assert script.stdout.readline().startswith("export SLURM_CONF=")
        script.kill()
        script.communicate()
        until(lambda: not mentioning(folder), "all daemons are gone")


def mentioning(folder: str) -> list[str]:
    """The processes that were started with something in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if folder.encode() in (path / "environ").read_bytes():
                found.append((path / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return found
