"""Keys and folders of runs: what they depend on, and what not."""

import errno
import fcntl
import json
import math
import os
import re
import socket
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest
from conftest import composed
from records import add_run

from sasa.config import compose, options, tables
from sasa.config.identity import Identity, axes_of, differences, folder_name, is_machine, key_of, rows_like
from sasa.job import complete
from sasa.records.collect import collect
from sasa.records.contents import contents
from sasa.records.files import alive, now, read_json, seconds_between, write_atomically
from sasa.records.folder import Busy, Record
from sasa.records.progress import progress
from sasa.report.pages.views import pace

compose.register()


def key(*overrides: str) -> str:
    return key_of(composed(*overrides))


def identity(*variant: str) -> Identity:
    return Identity(None, None, variant, "python run.py")


SHARED = (  # section 5 of the specification: rows of several tables that are one network
    {("table1", "baseline_50"), ("table3", "conv"), ("figure5", "baseline_100")},
    {("table1", "conv_stem_50"), ("table3", "attention"), ("table4", "k7"), ("table5", "relative"),
     ("table6", "content_position"), ("figure5", "conv_stem_100")},
    {("table1", "full_50"), ("table7", "attention_spatial_values"), ("figure5", "full_100")},
)  # fmt: skip


def test_rows_that_tables_share_have_one_key_and_those_of_a_table_keys_of_their_own() -> None:
    rows: dict[str, set[tuple[str, str]]] = {}
    for table in tables():
        for row in options(table):
            rows.setdefault(key(f"{table}={row}"), set()).add((table, row))
    assert not [found for found in rows.values() if len({table for table, _ in found}) < len(found)]  # of one table
    assert sorted(map(sorted, (found for found in rows.values() if len(found) > 1))) == sorted(map(sorted, SHARED))
    for found in rows.values():  # what a run says of itself, and the report believes
        for row in found:
            assert set(rows_like(axes_of(*row))) == found
    assert set(rows_like(axes_of())) == rows[key()] == SHARED[1]


def test_rows_that_tables_share_are_one_at_every_scale_and_with_overrides() -> None:
    for rows in SHARED:
        for overrides in (["scale=imagenet", "seed=3"], ["train.epochs=2", "extent=k3", "backbone=resnet26"]):
            assert len({key(f"{table}={row}", *overrides) for table, row in rows}) == 1


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "train.lr=0.01",
        "train.epochs=3",
        "train.batch=32",
        "data.size=32",
        "data.train_images=100",
        "data.skip_broken=true",
        "extent=k3",
        "scale=cifar10",
        "attention.border=zero",
        "attention.heads=1",
        "train.amp=true",
        "train.mixup=0.2",
        "backbone.width=0.5",
    ],
)
def test_what_changes_numbers_changes_the_key(override: str) -> None:
    assert key(override, *(["train.micro_batch=32"] if "batch" in override else [])) != key()


@pytest.mark.parametrize(
    "override",
    [
        "device=cpu",
        "data.workers=3",
        "output=elsewhere",
        "tracker=none",
        "tracker.project=other",
        "kernel=reference",
        "data.download=true",
        "data.root=/elsewhere",
        "train.checkpoint_minutes=0",
    ],
)
def test_the_machine_does_not(override: str) -> None:
    assert key_of(compose.compose_row([override])) == key()
    assert is_machine(override.split("=")[0])


def test_settings_of_attention_do_not_matter_without_attention() -> None:
    settings = ["extent=k3", "position=none", "attention.heads=4", "attention.border=zero", "attention.stem_heads=8"]
    assert len({key("table3=conv", setting) for setting in ["seed=0", *settings]}) == 1
    assert key("stem.mixtures=2") == key()
    assert key("stem=attention_spatial_values", "stem.mixtures=2") != key("stem=attention_spatial_values")
    stem = ("table3=conv", "stem=attention")  # its neighbourhood is its block, its position always relative
    assert key(*stem, "position=none") == key(*stem, "extent=k3") != key(*stem, "attention.stem_heads=1")


def test_the_width_of_the_scale_and_of_the_backbone_are_one_number() -> None:
    assert key("backbone.width=0.5", "scale.width=0.5") == key("backbone.width=1", "scale.width=0.25")


@pytest.mark.parametrize("text", ["a" * 5000, "ü" * 300, "数" * 300, "../../../etc", "a/b\\c:d*e?f'\"g h", "\udcff"])
def test_a_folder_can_be_made_for_any_override(tmp_path: Path, text: str) -> None:
    name = folder_name("demo", 0, (f"data.root={text}",))
    (tmp_path / name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert name != folder_name("demo", 0, (f"data.root={text}x",))


def test_a_write_is_whole_or_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "text")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_atomically(tmp_path / "folder", b"new")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_what_a_killed_process_left_half_written_is_removed_by_the_holder_of_the_key(tmp_path: Path) -> None:
    """Another one, such as a launcher that finds the run in a job, may see the holder's own files half written."""
    record = Record(composed(f"output={tmp_path}"), identity())
    record.folder.mkdir(parents=True)
    record.path(".checkpoint.pt.123.tmp").write_bytes(b"half")
    record.path(".writable.123.tmp").touch()  # of a launcher that begins now
    record.prepare()
    assert record.path(".checkpoint.pt.123.tmp").exists()
    record.tidy()
    assert [path.name for path in record.folder.iterdir()] == [".writable.123.tmp"]


def test_one_holder_of_a_key_at_a_time(tmp_path: Path) -> None:
    record = Record(composed(f"output={tmp_path}"), identity())
    with record.held():
        with pytest.raises(Busy, match="is being trained by process"), record.held():
            pass
        with Record(composed(f"output={tmp_path}", "seed=1"), identity()).held():
            pass
    with record.held():
        pass


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_without_flock_a_job_that_slurm_runs_again_takes_its_own_lock_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: int) -> None:
        raise OSError(errno.ENOSYS, "no flock")

    monkeypatch.setattr(fcntl, "flock", missing)
    record = Record(composed(f"output={tmp_path}"), identity())
    locks = tmp_path / ".locks"
    locks.mkdir()
    (locks / f"{record.key}.lock").write_text("1234\nelsewhere\n")
    (locks / f"{record.key}.json").write_text(json.dumps({"pid": 1234, "host": "elsewhere", "job": "7"}))
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    with pytest.raises(Busy, match="is being trained by job 7 of Slurm on elsewhere"), record.held():
        pass
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with record.held():
        assert read_json(locks / f"{record.key}.json")["pid"] == os.getpid()
    assert not (locks / f"{record.key}.lock").exists()


def test_a_tilde_in_output_is_the_home_folder() -> None:
    assert Record(compose.compose_row(["output='~/runs'"]), identity()).output == Path.home() / "runs"


def test_only_a_complete_result_of_the_same_key_counts_as_finished(tmp_path: Path) -> None:
    whole = {"status": "finished", "key": "k", "accuracy": {"test": {}}, "seconds": 1.0}
    counts = {"flops": 1, "params": 1}
    whole |= {"costs": counts, "paper_costs": counts, "scale": "demo", "seed": 0, "variant": ""}
    path = tmp_path / "result.json"
    path.write_text(json.dumps(whole))
    assert complete(tmp_path, "k")
    assert not complete(tmp_path, "other")
    for missing in ("accuracy", "costs", "paper_costs", "status", "seed"):
        path.write_text(json.dumps({name: value for name, value in whole.items() if name != missing}))
        assert not complete(tmp_path, "k"), missing
    for broken in ("", "[]", '{"status": "fini', "null", "\x00\xff"):
        path.write_text(broken)
        assert read_json(path) is None
        assert not complete(tmp_path, "k")


def test_differences_name_fields_and_leave_the_machine_out() -> None:
    before = {"train": {"lr": 0.1, "checkpoint_minutes": 1}, "seed": 0, "output": "a"}
    after = {"train": {"lr": 0.2, "checkpoint_minutes": 2}, "seed": 0, "output": "b", "new": 1}
    assert differences(before, after) == ["new: None, now 1", "train.lr: 0.1, now 0.2"]


def test_a_process_is_dead_only_if_it_can_be_known() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    host = socket.gethostname()
    assert not alive(process.pid, host)
    assert alive(os.getpid(), host)
    assert alive(process.pid, "elsewhere")
    assert not alive(None, host)


def own(root: Path, *overrides: str) -> str:
    """The key of a run on the images in a folder."""
    config = composed("data=folder", f"data.root={root}", *overrides)
    return key_of(config, contents(config).images)


def test_a_running_run_says_that_it_lives_how_far_it_is_and_how_fast(tmp_path: Path) -> None:
    record = Record(composed(f"output={tmp_path}"), identity())
    record.prepare()
    record.write_config()
    record.write_result("running", started=before(60), epochs=2, steps_per_epoch=50, images={"train": 1600})
    record._first, record._last_beat = (0, time.monotonic() - 20), -math.inf
    record.add_metrics({"split": "train", "epoch": 1, "step": 40, "loss": 1.0})
    (run,) = collect(tmp_path).runs
    assert (run.status, run.step) == ("running", 40)
    assert run.seconds_a_step == pytest.approx(0.5, rel=0.4)  # 20 s for 40 steps, and what a busy machine adds
    known = progress(record.folder, run)
    assert known
    assert known.share == 0.4
    silent = seconds_between(run.heard, now()) or 0
    assert known.left == pytest.approx(60 * run.seconds_a_step - silent, abs=8)
    assert re.fullmatch(r"6\d s so far, [4-6]\d images/s, about 30 s left, heard of at [\d:]+", pace(run, 30))
    record.write_result("running", started=now())  # it goes on in another process, which has written nothing yet
    (again,) = collect(tmp_path).runs
    assert (again.status, again.step) == ("running", None)


def test_a_run_of_another_host_that_is_silent_is_lost(tmp_path: Path) -> None:
    folder = add_run(tmp_path, "table4", "k3", status="running", host="gpu7", started=before(7200))
    (lost,) = collect(tmp_path).runs
    assert (lost.status, lost.reason) == ("interrupted", f"not heard of since {lost.started}, on gpu7")
    (folder / "heartbeat.json").write_text(json.dumps({"heard": before(600), "step": 9, "seconds_a_step": 1.0}))
    (alive,) = collect(tmp_path).runs
    assert (alive.status, alive.step) == ("running", 9)
    add_run(tmp_path, "table4", "k3", status="running", started=before(7200))  # of this host: its process can be seen
    (folder / "heartbeat.json").write_text("{")
    assert collect(tmp_path).runs[0].status == "running"


def before(seconds: float) -> str:
    """The time so many seconds ago."""
    return datetime.fromtimestamp(time.time() - seconds).astimezone().isoformat(timespec="seconds")


def test_images_of_ones_own_are_told_by_what_they_are_and_not_by_where_they_lie(tmp_path: Path) -> None:
    for name in ("here", "there"):
        for file in ("train/ant/1.png", "train/bee/1.png", "test/ant/1.png"):
            path = tmp_path / name / file
            path.parent.mkdir(parents=True)
            path.write_bytes(b"12345")
    (tmp_path / "there" / "notes.txt").write_text("of no split")
    here, there = own(tmp_path / "here"), own(tmp_path / "there")
    assert here == there
    (tmp_path / "there/train/ant/1.png").write_bytes(b"123456")
    assert own(tmp_path / "there") != here
    (tmp_path / "there/train/ant/1.png").write_bytes(b"12345")
    (tmp_path / "there/test/ant/1.png").rename(tmp_path / "there/test/ant/2.png")
    assert own(tmp_path / "there") != here


def test_a_reader_of_folders_is_no_published_set_and_links_do_no_harm(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name / "train" / "ant").mkdir(parents=True)
        (tmp_path / name / "train" / "ant" / "1.png").write_text(name)
    reader = "data.reader=torch/image_folder"
    assert own(tmp_path / "here", reader) != own(tmp_path / "there", reader)
    before = own(tmp_path / "here")
    (tmp_path / "here" / "train" / "loop").symlink_to("..")
    assert own(tmp_path / "here") == before
    (tmp_path / "here" / "train" / "ant" / "2.png").symlink_to("/nonexistent")
    assert own(tmp_path / "here") != before


@pytest.mark.parametrize("data", ["imagenet", "cifar10", "cifar100", "coco", "huggingface"])
def test_a_published_set_is_the_same_everywhere(tmp_path: Path, data: str) -> None:
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017" / "1.jpg").write_bytes(b"1")
    task = ["task=detection"] if data == "coco" else []
    config = compose.compose_row([*task, f"data={data}", f"data.root={tmp_path}"])
    assert contents(config).images == ""
    assert key_of(config) == key(*task, f"data={data}")


def test_annotations_of_ones_own_are_no_published_set(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    names = ["data.train_annotations=mine.json", "data.test_annotations=mine.json"]
    config = compose.compose_row(["task=detection", "data=coco", f"data.root={tmp_path}", *names])
    assert len(contents(config).images) == 16


def test_the_channels_of_a_detector_count_with_the_scale() -> None:
    half = ("table2=conv_full", "detector.channels=128", "scale.width=0.5", "backbone.width=1")
    assert key(*half) == key("table2=conv_full", "detector.channels=256", "scale.width=0.25", "backbone.width=2")
    assert key(*half) != key("table2=conv_full", "detector.channels=256", "scale.width=0.5", "backbone.width=1")
