"""The benchmarks' contenders compute the operation, and the command prints and writes its rows."""

import json
import re
import sys
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import pytest
import torch
from rich.console import Console

from sasa.bench import __main__ as command
from sasa.bench import contenders, detectors, measure, models, ops, ranks, stems
from sasa.config.identity import at_paper_size
from sasa.nn.attention import AttentionOptions
from sasa.nn.stem import build_stem
from sasa.ops import reference
from sasa.ops.arguments import Arguments
from sasa.report.paper import TABLES


def test_contenders_compute_the_operation() -> None:
    inputs = [torch.randn(2, 9, 7, 16) for _ in range(3)] + [torch.randn(2, 5, 4) for _ in range(2)]
    expected = reference.forward(Arguments(*inputs, 2, 5))[0]
    for contender in (contenders.unfold, contenders.shifted, contenders.ours("auto")):
        torch.testing.assert_close(contender(*inputs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_computes_the_operation_forward() -> None:
    inputs = [torch.randn(1, 9, 7, 16) for _ in range(3)] + [torch.randn(2, 5, 4) for _ in range(2)]
    expected = reference.forward(Arguments(*inputs, 2, 5))[0]
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):  # what it computes, not how fast
        torch.testing.assert_close(contenders.flex()(*inputs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", stems.KINDS.values())
def test_plain_stems_are_the_stems(kind: str) -> None:
    stem = build_stem(kind, 3, 16, 2, AttentionOptions(stem_heads=2)).train()
    images = torch.randn(2, 3, 13, 18)
    torch.testing.assert_close(stems.Plain(stem)(images), stem(images), rtol=1e-4, atol=1e-4)


def test_stems_are_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(stems, "SIDE", 16)
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setattr(sys, "argv", ["bench", "stems", "--batch", "1", "--device", "cpu"])
    command.main()
    printed = capsys.readouterr().out
    for name in stems.stems(quick=False):
        assert re.search(rf"{name} .*\d\.\d\dx", printed), printed


def test_a_contender_that_fails_is_a_row_and_the_others_are_measured() -> None:
    def fail() -> None:
        raise RuntimeError("not here")

    device = torch.device("cpu")
    results = measure.alternate({"bad": {"both": fail}, "good": {"both": lambda: torch.ones(2**22)}}, 2, device)
    assert results["bad"].failure == "RuntimeError: not here"
    assert len(results["good"].seconds["both"]) == 2
    assert results["good"].peak is None or results["good"].peak > 2**23


def test_the_command_prints_and_writes_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(ops, "SHAPES", ((4, 16),) * 3)
    monkeypatch.setattr(ops, "EXTENTS", (3,))
    monkeypatch.setattr(ops, "SIDES", (4,))
    file = tmp_path / "rows.json"
    monkeypatch.setattr(
        sys, "argv", ["bench", "ops", "--quick", "--batch", "1", "--device", "cpu", "--json", str(file)]
    )
    command.main()
    written = json.loads(file.read_text())
    assert {x["table"] for x in written["rows"]} == {"shapes", "extents", "sides"}
    assert written["conditions"]["dtype"] == "float32"
    assert "unfold" in capsys.readouterr().out


@pytest.mark.slow
def test_detectors_are_timed_beside_torchvisions(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(detectors, "SIDE", 192)
    # of a quarter of the width: what is timed does not matter here
    monkeypatch.setattr(detectors, "at_paper_size", lambda config: replace(at_paper_size(config), scale=config.scale))
    monkeypatch.setattr(sys, "argv", ["bench", "detectors", "--quick", "--device", "cpu"])
    command.main()
    printed = capsys.readouterr().out
    for row in TABLES["table2"].rows:
        assert re.search(rf"{row.name} .*\d\.\d\dx", printed), printed


def test_the_steps_of_ranks_are_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of one, in this process: several are what torchrun starts, which test_ranks.py tries."""
    monkeypatch.setattr(ranks.ranks, "sum_of_all", ranks.ranks.sum_of_all)  # which is timed from then on
    monkeypatch.setattr(ranks, "SIDE", 32)
    contender, (here, there) = ranks.Contender(1, 1, 2), Pipe()
    for word in ("step", "step", "end"):
        here.send(word)
    ranks.take_steps(contender, 0, 0, 4, there)
    row = ranks.row(contender, [[here.recv()], [here.recv()]], 4)
    assert row["step_ms"] > 0
    assert row["cpu_ms"] > 0
    Console(width=100).print(command.render("ranks", [row]))
    assert re.search(r"1 process, 1 thread .*\d\.\d .* 1\.00x", capsys.readouterr().out)


@pytest.mark.slow
def test_networks_are_timed_at_both_sizes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"SIDE": 32, "DEMO_SIDE": 32, "DEMO_BATCH": 2}.items():
        monkeypatch.setattr(models, name, value)
    monkeypatch.setattr(sys, "argv", ["bench", "models", "--quick", "--batch", "1", "--device", "cpu"])
    command.main()
    printed = capsys.readouterr().out
    for name in ("SASA-50, conv stem", "SASA-50, full"):
        assert re.search(rf"{name} .*\d\.\d\dx \(\d+\.\d\dx\)", printed), printed
