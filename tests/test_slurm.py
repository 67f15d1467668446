"""Rows as jobs of a real Slurm, which a script sets up on this machine (tests/slurm/cluster.py)."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, TINY, Ended, call, end, environment, only, start
from forks import Fork
from slurm.cluster import Cluster, lacking, running

Process = subprocess.Popen[str] | Fork
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(lacking()), reason=lacking())]
SMALL = [*(word for word in TINY if "epochs=1" not in word), "scale.width=0.0625"]
ENDLESS = ("train.epochs=100000", "train.keep_epochs=5", "train.checkpoint_minutes=100")  # no machine comes to its end
SECONDS = 600  # the most that anything is waited for


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    temporary = tempfile.TemporaryDirectory(prefix="slurm", ignore_cleanup_errors=True)  # sockets want short paths
    with temporary as folder, ExitStack() as stack:
        try:
            cluster = stack.enter_context(running(Path(folder) / "all", grace=2))
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            pytest.skip(f"Slurm's daemons do not start on this machine: {error}")
        yield cluster


@pytest.fixture
def begin(cluster: Cluster) -> Iterator[Callable[..., Process]]:
    """`python run.py` in the background, which does not outlive the test; nor do its jobs."""
    processes: list[Process] = []

    def begin(*words: str, **extra: str) -> Process:
        processes.append(start(*words, **extra))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()
    cluster.call("scancel", "--user=root")


def command(output: Path, *words: str, **settings: Any) -> list[str]:
    """A sweep in jobs of one core, without GPUs."""
    launcher = {"gpus_per_node": 0, "cpus_per_task": 1, "timeout_min": 30} | settings
    told = [f"hydra.launcher.{name}={value}" for name, value in launcher.items()]
    return ["-m", *SMALL, *words, f"output={output}", "hydra/launcher=slurm", *told]


def until(condition: Callable[[], object], what: str, process: Process | None = None) -> None:
    """Wait; AssertionError where it takes too long, or a process ends before."""
    last = time.monotonic() + SECONDS
    while not condition():
        assert process is None or process.poll() is None, end(process).text
        assert time.monotonic() < last, what
        time.sleep(0.2)


def steps(output: Path) -> int:
    """How far a row has come."""
    lines = [line for path in output.glob("table*/*/*/metrics.jsonl") for line in path.read_text().splitlines()]
    return int(json.loads(lines[-1])["step"]) if lines else 0


def kept(output: Path) -> dict[str, Path]:
    """The weights of every fifth epoch so far."""
    return {path.name: path for path in output.glob("**/epoch_*.safetensors")}


def history(cluster: Cluster, job: str) -> list[str]:
    """How each start of a job has ended."""
    return cluster.call("sacct", "-D", "-n", "-X", "-P", "-j", job, "-o", "state").splitlines()


def later_epochs(output: Path) -> dict[str, Path]:
    """The weights that are kept by the time that there are more of them than now."""
    before = set(kept(output))
    until(lambda: kept(output).keys() - before, "further epochs")
    return kept(output)


def assert_same_bits(epochs: dict[str, Path], process: Process, output: Path) -> None:
    """A run that never stopped, here, has the same weights after these epochs."""
    until(lambda: epochs.keys() <= kept(output).keys(), "the same epochs here", process)
    for name, path in epochs.items():
        assert path.read_bytes() == kept(output)[name].read_bytes(), name


def test_a_row_is_preempted_timed_out_and_loses_its_node_and_keeps_its_bits(
    cluster: Cluster, begin: Callable[..., Process], tmp_path: Path
) -> None:
    """And the process that submitted it is killed; the same command waits for the job, and submits it again when cancelled."""
    output, before = tmp_path / "jobs", 0
    words = command(output, "table5=none", *ENDLESS, partition="low")

    def state(*fields: str) -> str:
        return cluster.call("squeue", "-h", "-o", " ".join(fields or ("%T",)), "-p", "low").strip()

    def trains_on() -> bool:
        return state() == "RUNNING" and steps(output) > before

    def log() -> str:
        return only(output, "table5/none/*/run.log").read_text()

    first = begin(*words, **cluster.environment)
    until(lambda: trains_on() and list(output.glob("**/checkpoint.pt")), "the job begins", first)
    first.kill()
    first.communicate()
    job, node = state("%i", "%N").split()
    cluster.freeze(node)  # so that there are few epochs to compare

    busy = call("table5=none", *SMALL, *ENDLESS, f"output={output}", **cluster.environment)
    assert busy.code == 1
    assert f"table5=none is job {job} of Slurm, running on {node}" in busy.err

    second = begin(*words, **cluster.environment)
    high = cluster.call("sbatch", "--parsable", "-p", "high", "-w", node, "-o", "/dev/null", "--wrap", "sleep 3600")
    until(lambda: state("%N") != node, "the job is preempted")
    before = steps(output)
    assert "SIGTERM" not in log()  # it saved, and went on
    until(trains_on, "the job goes on elsewhere", second)
    assert state("%N") != node
    cluster.call("scancel", high.strip())

    cluster.call("scancel", "--signal=USR2", job)  # as Slurm does when the time limit is near
    until(lambda: "SIGUSR2" in log(), "the job saves its state")
    before = steps(output)
    until(trains_on, "the job goes on after its time limit", second)

    lost = state("%N")
    cluster.kill_node(lost)
    before = steps(output)
    until(lambda: state("%N") != lost, "the node is found to be lost")
    until(trains_on, "the job goes on without its node", second)
    assert state("%N") != lost
    cluster.start_node(lost)

    epochs = later_epochs(output)
    cluster.call("scancel", job)
    ended = end(second)
    (printed,) = (output / ".slurm").glob("*_log.out")
    assert printed.read_text().count("going on from step") == 3  # it never began again
    assert ended.code == 1, ended.text
    assert f"table5=none is with job {job} of Slurm" in ended.out
    assert "rows: 1, different runs: 1; 0 finished, 1 under way, 0 submitted" in ended.out
    assert f"its job {job} ended before it was finished" in ended.err
    assert "Table 5" in ended.out
    past = ["PREEMPTED", "REQUEUED", "NODE_FAIL", "CANCELLED"]
    until(lambda: [line.split()[0] for line in history(cluster, job)] == past, f"{past} in Slurm's accounting")

    before = steps(output)
    third = begin(*words, **cluster.environment)
    until(trains_on, "a cancelled row is submitted again, and goes on", third)
    cluster.call("scancel", "-p", "low")
    assert "0 finished, 0 under way, 1 submitted" in end(third).out
    here = tmp_path / "here"
    assert_same_bits(epochs, begin("table5=none", *SMALL, *ENDLESS, f"output={here}"), here)


@pytest.mark.skipif(
    "SASA_SLURM" not in os.environ, reason="Slurm's shortest limit is a minute: SASA_SLURM=1 waits for it"
)
def test_a_row_goes_on_after_a_limit_that_is_over(
    cluster: Cluster, begin: Callable[..., Process], tmp_path: Path
) -> None:
    output = tmp_path / "jobs"
    words = command(output, "table5=absolute", *ENDLESS, timeout_min=1, signal_delay_s=20)
    process = begin(*words, **cluster.environment)

    def log() -> str:
        return "".join(path.read_text() for path in output.glob("table5/absolute/*/run.log"))

    for times in (1, 2):
        until(lambda times=times: log().count("SIGUSR2") >= times, "Slurm says that the time is nearly over", process)
        before = steps(output)
        until(lambda before=before: steps(output) > before, "the job goes on", process)
    epochs = later_epochs(output)
    job = cluster.call("squeue", "-h", "-o", "%i").strip()
    cluster.call("scancel", job)
    assert f"its job {job} ended before it was finished" in end(process).err
    assert history(cluster, job)[:2] == ["REQUEUED", "REQUEUED"]
    here = tmp_path / "here"
    assert_same_bits(epochs, begin("table5=absolute", *SMALL, *ENDLESS, f"output={here}"), here)


def test_rows_of_two_ranks_on_two_nodes_of_which_one_fails_and_one_is_run_again(
    cluster: Cluster, begin: Callable[..., Process], tmp_path: Path
) -> None:
    """They end with the bits of one process; rows that are one run are submitted once, also by two sweeps at once."""
    output, recipe = tmp_path / "jobs", ("train.epochs=2", "train.micro_batch=8")
    settings = {"nodes": 2, "array_parallelism": 1}
    words = command(output, "table4=k7", "train.optimizer=nesterof,nesterov", *recipe, **settings)
    process = begin(*words, **cluster.environment)
    until(lambda: list((output / ".locks").glob("*.job.json")), "the rows are submitted", process)
    twin = begin(
        *command(output, "table5=relative", "train.optimizer=nesterov", *recipe, **settings), **cluster.environment
    )
    until(lambda: steps(output), "the second row trains", process)
    second = cluster.call("squeue", "-h", "-r", "-t", "RUNNING", "-o", "%i").split()
    requeue = ["scontrol", "requeue", *second]  # it may have ended by now
    subprocess.run(requeue, env=os.environ | cluster.environment, capture_output=True, check=False)
    ended, other = end(process), end(twin)
    assert ended.code == 1, ended.text
    assert "rows: 2, different runs: 2; 0 finished, 0 under way, 2 submitted" in ended.out
    assert "Traceback" not in ended.text
    (failed,) = [line for line in ended.err.splitlines() if line.startswith("failed")]
    assert failed.startswith("failed  train.optimizer=nesterof: train.optimizer=nesterof: timm has no such optimizer")
    assert other.code == 0, other.text
    assert " 0 submitted" in other.out
    assert "table5=relative is the run of table4/k7/" in other.out

    alone = call(*SMALL, "table4=k7", "train.optimizer=nesterov", *recipe, f"output={tmp_path}/here")
    assert alone.code == 0, alone.text
    for name in ("weights.safetensors", "metrics.jsonl"):
        pattern = f"table4/k7/*/{name}"
        assert only(output, pattern).read_bytes() == only(tmp_path / "here", pattern).read_bytes(), name
    again = call(*command(output, "table4=k7", "train.optimizer=nesterov", *recipe), **cluster.environment)
    assert "different runs: 1; 1 finished, 0 under way, 0 submitted" in again.out, again.text
    assert not list((output / ".locks").glob("*.job.json"))


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
