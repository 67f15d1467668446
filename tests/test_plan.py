"""What a selection of rows will cost, and how far it has come."""

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conftest import TINY, Ended, module
from records import add_run

from sasa import plan
from sasa.config import compose
from sasa.records.collect import collect
from sasa.records.jobs import note_job
from sasa.records.progress import by_the_clock
from sasa.records.sweeps import Listed, Sweep
from sasa.report.pages.site import Site
from sasa.report.status import status


def test_runs_on_places_end_with_the_longest_first() -> None:
    assert by_the_clock([4, 3, 3, 2], 1) == 12
    assert by_the_clock([4, 3, 3, 2], 2) == 6
    assert by_the_clock([4, 1], 8) == 4
    assert by_the_clock([5, 5], 2, begun=[10, 1]) == 11


def test_rows_that_are_one_run_are_planned_once_with_the_costs_of_the_paper_s_recipe() -> None:
    """scale.md's sum by hand: three passes an image of training, one of evaluation, at the FLOPs that Table 1 prints."""
    compose.register()
    told: list[str] = []
    rows = plan.selection(["table1", "table5", "scale=imagenet", "seed=0,1"], told.append)
    assert len(rows) == 2 * 12
    planned, finished = plan.unfinished(rows, (), told.append)
    assert (len(planned), finished) == (2 * 11, 0)
    assert told[:3] == ["composing table1", "composing table5", "counting the FLOPs of table1=baseline_26"]
    assert {one.config.seed for one in planned} == {0, 1}
    assert planned[1].labels == ["table1=baseline_26 seed=1"]
    (whole,) = (one for one in planned if "table1=conv_stem_50" in one.labels)
    assert whole.labels == ["table1=conv_stem_50", "table5=relative"]
    images = 1_281_167 - round(0.04 * 1_281_167)
    images = images // 256 // 16 * 4096
    evaluated = 130 * 2 * round(0.04 * 1_281_167) + 50_000
    assert plan.lasting(3600 * 47) == "47.0 h"
    assert [plan.lasting(86400 * days) for days in (2.04, 9.96, 123.4)] == ["2.0 days", "10.0 days", "123 days"]
    assert whole.work.total == pytest.approx(7.0e9 * (3 * 130 * images + evaluated), rel=0.01)


def test_the_plan_of_finished_and_unfinished_rows(trained: tuple[Path, Ended], tmp_path: Path) -> None:
    output = shutil.copytree(trained[0], tmp_path / "out")
    words = ["table1=conv_stem_26,conv_stem_38", *TINY[1:], f"output={output}", "gpus=2"]
    told = module("sasa.plan", *words)
    assert told.code == 0, told.text
    assert "Runs that differ: 1 left, 1 finished" in told.out
    assert "FLOP/s of 1 others" in told.out
    assert "table1=conv_stem_38" in told.out
    refused = module("sasa.plan", *words[:-1], "gpus=0")
    assert refused.code == 2
    assert refused.err.splitlines()[-1].endswith("gpus=0: expected how many runs go side by side, such as gpus=8")
    refused = module("sasa.plan", words[0], "--share=0", *words[1:-1])
    assert refused.err.splitlines()[-1].endswith("--share 0: expected a part of the peak, above 0 and at most 1")


@pytest.mark.slow
def test_a_measured_pace_is_near_that_of_the_run_itself(trained: tuple[Path, Ended], tmp_path: Path) -> None:
    told = module("sasa.plan", "table1=conv_stem_26", *TINY[1:], f"output={tmp_path}", "--measure")
    assert told.code == 0, told.text
    assert "measured" in told.out
    assert "Runs that differ: 1 left, 0 finished" in told.out


def test_a_job_of_slurm_that_is_gone_before_it_began_leaves_its_row_s_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho '7_1|PENDING||Priority'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / ".locks").mkdir()
    for number, row in enumerate(("table4=k3", "table4=k5")):
        note_job(tmp_path, row, f"7_{number}", row, f"python run.py {row}")
    gone, waiting = status(tmp_path, ())
    assert (gone.status, gone.name, gone.again) == ("missing", "table4=k3", "python run.py table4=k3")
    assert (waiting.status, waiting.name, waiting.again) == ("waiting", "table4=k5", "")
    squeue.unlink()  # nobody knows
    monkeypatch.setenv("PATH", "")
    assert status(tmp_path, ()) == []


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        return process.pid


def add_sweep(output: Path, pid: int, names: list[str], begun: int, commands: Sequence[str] = ()) -> None:
    """What a sweep leaves of its rows, of which some are begun."""
    folder = output / ".sweep" / str(pid)
    folder.mkdir(parents=True)
    rows = [Listed(*row) for row in zip(names, commands or [f"python run.py {name}" for name in names], strict=True)]
    (folder / "sweep.json").write_text(json.dumps(asdict(Sweep(["seed"], rows, pid, socket.gethostname(), None))))
    for number in range(begun):
        (folder / f"{number}.json").write_text(json.dumps({"status": "failed"}))


def test_a_row_of_images_of_ones_own_is_missing_until_it_was_begun_where_they_lie(tmp_path: Path, gone: int) -> None:
    typed = {x: f"python run.py table5=none data=folder {x}" for x in ("data.root=/a", "'data.root=/b c'")}
    add_sweep(tmp_path, gone, ["table5=none data=folder"] * 2, begun=0, commands=tuple(typed.values()))
    (tmp_path / ".sweep" / str(gone) / "0 (copy).json").touch()  # as programs leave it that keep folders alike

    def left() -> list[str]:
        return [line.again for line in status(tmp_path, collect(tmp_path).known) if line.status == "missing"]

    assert left() == list(typed.values())
    for number, root in enumerate(typed):
        images = f"data=folder,images=0123456{number}"
        add_run(tmp_path, "table5", "none", variant=images, command=f"python run.py {root} data=folder table5=none")
        assert left() == list(typed.values())[number + 1 :]


def test_status_and_the_pages_tell_what_is_done_runs_waits_and_failed(tmp_path: Path, gone: int) -> None:
    add_run(tmp_path, "table5", "none")
    add_run(tmp_path, "table4", "k7", variant="data=folder,images=0123abcd")
    add_run(tmp_path, "table5", "absolute", status="failed", reason="the loss is nan at step 3")
    started, heard = (
        (datetime.now().astimezone() - timedelta(seconds=ago)).isoformat(timespec="seconds") for ago in (100, 2)
    )
    folder = add_run(
        tmp_path, "table5", "relative", status="running", pid=os.getpid(), host=socket.gethostname(), started=started,
        epochs=4, steps_per_epoch=25, rows=[["table1", "conv_stem_50"]],
    )  # fmt: skip
    (folder / "metrics.jsonl").write_text(json.dumps({"split": "train", "step": 50}) + "\n{torn")
    (folder / "heartbeat.json").write_text(json.dumps({"heard": heard, "step": 50, "seconds_a_step": 720.0}))
    seeds = [f"table5=none seed={seed}" for seed in range(1, 6)]
    add_sweep(tmp_path, os.getpid(), [*seeds, "table5=none"], begun=3)  # the last is finished
    # Of a dead sweep a row is missing unless it was refused, another sweep has it, it is the run of another row, it is
    # recorded with what its images were found to be, or its sweeper had not chosen it.
    others = ["table5=none seed=5", "table1=conv_stem_50", "table4=k7 data=folder", "", "table4=k3"]
    add_sweep(tmp_path, gone, ["table4=k5", *others], begun=1)
    told = module("sasa.report", "status", "--output", str(tmp_path))
    assert told.code == 0, told.text
    lines = told.out.splitlines()
    assert lines[0].endswith(": 2 finished, 1 running, 2 waiting, 1 failed, 1 missing")
    running, waiting, failed, missing, end = lines[1:]
    assert running.startswith("running     table5=relative")
    assert "50%, 9:5" in running
    assert f"process {os.getpid()} on " in running
    assert waiting.startswith(f"waiting     2 rows  in the sweep of process {os.getpid()}")
    again = "python run.py table5=absolute scale=demo seed=0"
    assert failed == f"failed      table5=absolute  the loss is nan at step 3; to go on: {again}"
    why, begin = f"never begun: .sweep/{gone} ended before", "python run.py table4=k3"
    assert missing == f"missing     table4=k3  {why}; to go on: {begin}"
    assert end.startswith("all of it ends in about ")

    site = Site(tmp_path)
    section = re.search(r'<section id="under-way">.*?</section>', site.render("index.html"), re.S)
    assert section
    rows = [re.sub(r"<.*?>", "", row) for row in re.findall(r"<tr>.*?</tr>", section[0])]
    assert [re.split("[ =]", row.strip())[1] for row in rows[1:]] == ["table5", "2", "table5", "table4"]
    assert re.search(r"running, 50 %, about (9\.9|10\.0) h left", rows[1])
    assert f"process {os.getpid()} on " in rows[1]
    assert rows[3].endswith(f"the loss is nan at step 3{again}")
    assert rows[4].endswith(why + begin)
    assert re.search(r"all of it ends in about \d", section[0])
    (running,) = [run for run in site.runs if run.status == "running"]
    assert re.search(r"of 4 epochs, .*, about (9\.9|10\.0) h left", site.run(running))
