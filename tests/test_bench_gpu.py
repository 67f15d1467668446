"""`python -m sasa.bench gpu` without a GPU: its parts end at their limits whatever happens to them, and all of its code runs."""

import json
import re
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from bench_parts import dies, fails, good, hangs, is_cut, leaves_a_child, says_nothing
from conftest import make_images, module

from sasa.bench.gpu import parts, runner
from sasa.bench.gpu.report import Report
from sasa.bench.gpu.runner import Outcome, Part, Row
from sasa.bench.gpu.setting import Setting
from sasa.ops.triton_backend import missing


def ran(monkeypatch: pytest.MonkeyPatch, *some: Part) -> tuple[dict[str, list[Row]], dict[str, Outcome]]:
    """Rows and outcomes by the part's name."""
    monkeypatch.setattr(runner, "PRELOADED", [])
    rows: dict[str, list[Row]] = {part.name: [] for part in some}
    ended: dict[str, Outcome] = {}
    runner.side_by_side(some, lambda name, new: rows[name].extend(new), lambda x: ended.update({x.name: x}))
    return rows, ended


@pytest.mark.slow
def test_one_part_that_fails_leaves_the_others_and_its_own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "GRACE", 200.0)  # on a busy machine it may begin late
    each = {"good": good, "hangs": hangs, "dies": dies, "fails": fails, "is cut": is_cut}
    rows, ended = ran(monkeypatch, *(Part(x, y, 3.0 if x == "hangs" else 200.0) for x, y in each.items()))
    assert rows.pop("good") == [{"number": 1.0}, {"number": None}]
    assert all(x == [{"number": 1}] for x in rows.values())
    states = {name: x.state for name, x in ended.items()}
    assert states == {"good": "done", "hangs": "out of time"} | dict.fromkeys(("dies", "fails", "is cut"), "failed")
    assert "it stood in" in ended["hangs"].said
    assert "in hangs" in ended["hangs"].log
    assert ended["dies"].said.startswith("SIGSEGV")
    assert ended["fails"].said == "ValueError: no such thing"
    assert ended["is cut"].said == "its last row is cut."


@pytest.mark.slow
def test_a_part_that_cannot_end_itself_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    _, ended = ran(monkeypatch, Part("one", says_nothing, 1.0))
    assert ended["one"].state == "out of time"


def test_what_a_part_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pid"
    _, ended = ran(monkeypatch, Part("one", partial(leaves_a_child, file), 200.0))
    assert ended["one"].state == "done"
    status = Path("/proc") / file.read_text() / "status"
    waited = time.monotonic() + 60
    while status.exists() and "State:\tZ" not in status.read_text() and time.monotonic() < waited:
        time.sleep(0.05)
    assert time.monotonic() < waited


def test_all_parts_fit_in_eight_minutes() -> None:
    """Those before the training run, which has what they leave: 80 seconds at least."""
    stages = parts.stages(Setting("cuda", images=Path("images")))
    assert [part.name for part in stages[-1]] == ["training"]
    others = sum(max(part.limit for part in stage) + runner.GRACE for stage in stages[:-1])
    assert others + 80 <= parts.SECONDS == 480
    names = [part.name for stage in stages for part in stage]
    assert len(set(names)) == len(names)


@pytest.mark.skipif(bool(missing()), reason="Triton is not installed")
def test_the_variants_that_were_picked_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sasa.bench.gpu.operations import picks
    from sasa.ops import triton_tuning

    known = {
        ("forward", 128, 56, 56, 64, 8): {"8x8": 0.25, "4x8": 0.125, "8x8, 2 rows": float("inf")},
        ("d key", 128, 56, 56, 64, 8): {"8x8": 0.5, "4x8": 0.75, "8x8, 2 rows": 0.625},
        ("forward", 128, 28, 28, 64, 8): {"8x8": 1.0},
    }
    monkeypatch.setattr(triton_tuning, "known", known)
    report = Report(tmp_path / "gpu.json", {"device": "none"})
    for row in picks(56, 64):
        runner.print_row(lambda line: report.tell("operation", [json.loads(line)]), row)
    text = (tmp_path / "gpu.txt").read_text()
    for picked in (r"forward +4x8 +0.125 +8x8 0.250; 4x8 0.125; 8x8, 2 rows failed", r"d key +8x8 +0.500"):
        assert re.search(rf"56x56x64 +{picked}", text), text
    assert "28x28" not in text


def test_a_kill_loses_no_row(tmp_path: Path) -> None:
    """The file is whole after each row, and the tables are made of any that there are."""
    report = Report(tmp_path / "gpu.json", {"device": "none"})
    row = {"table": "maps", "shape": "56x56x64", "contender": "ours", "peak_mb": None, "failure": ""}
    times = {"forward_device_ms": 1.0, "both_device_ms": 2.0}
    flex = {"contender": "FlexAttention", "forward_device_ms": 3.0, "both_device_ms": 7.0}
    exact = {
        "kernel": "attention",
        "case": "one",
        "dtype": "float32",
        "worst": "d_key",
        "same_again": True,
        "failure": "",
    }
    for name, told in (
        ("operation", row | times),
        ("operation", row | flex),
        ("compile 56x56x64", row | {"contender": "not measured"}),
        ("exactness 1", exact | {"of_allowed": 0.5}),
        ("exactness 2", exact | {"of_allowed": 1.5, "case": "two"}),
    ):
        report.tell(name, [told])
        assert json.loads((tmp_path / "gpu.json").read_text())["rows"][-1] == {"part": name, **told}
    report.end(Outcome("stems", "out of time", 21.0, 20.0, "it stood in here"))
    text = (tmp_path / "gpu.txt").read_text()
    assert "3.50x" in text
    assert "not measured" not in text
    assert "1/2" in text
    assert "two: d_key is not exact" in text
    assert report.failed == ["stems", "attention two float32"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "cpu"], "gpu needs a file for what it finds: --to FILE"),
        (["--to", "x.json", "--device", "gpu"], "--device gpu: expected cpu or cuda"),
        (["--to", "x.json", "--device", "cpu", "--batch", "0"], "--batch 0: expected a number of images, at least 1"),
        (["--to", "x.json", "--device", "cuda"], "--device cuda: torch finds no GPU on this machine"),
        (["--to", "x.json", "--cifar", "nowhere"], "--cifar nowhere: expected train/<class>/ and test/<class>/"),
    ],
)
def test_what_cannot_work_is_told_before_anything_begins(words: list[str], message: str, tmp_path: Path) -> None:
    done = module("sasa.bench", "gpu", *words, cwd=tmp_path)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason="Triton is not installed")
def test_all_of_it_runs_in_small_on_a_cpu(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images (two classes)", 24, 4, ("ant", "bee"))
    file = tmp_path / "new" / "gpu.json"
    done = module("sasa.bench", "gpu", "--device", "cpu", "--to", file, "--cifar", images)
    found = json.loads(file.read_text())
    assert {x["name"]: x["state"] for x in found["parts"]} == dict.fromkeys((x["name"] for x in found["parts"]), "done")
    assert done.code == 0, done.text
    setting = Setting("cpu", 2, images)
    assert {x["name"] for x in found["parts"]} == {part.name for stage in parts.stages(setting) for part in stage}
    tables = {x.get("table") for x in found["rows"]}
    assert tables == {None, "rates", "maps", "stems", "networks", "detectors", "training"}
    exact = [x for x in found["rows"] if "kernel" in x]
    assert {x["kernel"] for x in exact} == {"attention", "stem"}
    assert all(x["of_allowed"] < 1 and x["same_again"] for x in exact)
    broken = {x["contender" if "contender" in x else "network"] for x in found["rows"] if x.get("failure")}
    assert broken == {"FlexAttention"}  # which has no backward pass on a CPU
    assert all(len(x["kernels"]) == 10 for x in found["rows"] if x.get("table") in ("networks", "detectors"))
    assert found["rows"][-1]["run"]["status"] == "finished"
    for title in ("Against float64", "Local attention", "Stems", "Training steps", "Training on CIFAR-10", "Parts"):
        assert title in done.out
        assert title in (tmp_path / "new" / "gpu.txt").read_text()
