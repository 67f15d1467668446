"""Rows and tables of one's own, in a folder given with --config-dir: run, reported and shown like the paper's."""

import json
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import TINY, call, only

from sasa import cost, evaluate, plan
from sasa.config import OWN, compose, own_tables
from sasa.config.identity import axes_of, rows_like
from sasa.config.overrides import check_overrides
from sasa.errors import InputError
from sasa.records.collect import collect
from sasa.report.own import add_tables, described
from sasa.report.paper import TABLES
from sasa.report.tables.compare import compare

RECIPE = "# @package _global_\ndefaults:\n  - override /layers: conv1\ntrain:\n  label_smoothing: 0.2\n"
TABLE = """title: Smoothing
columns: [smoothing, of]
reference: none
rows:
  none: {cells: [none, "-"], top1: 70.1}
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A row of table3 and a table of one's own, whose rows are one network; known to this process, too."""
    folder = tmp_path / "my own"
    files = {
        "table3/alternating.yaml": "# @package _global_\nlayers:\n  groups: [attention, convolution, attention, convolution]\n",
        "smoothing/none.yaml": RECIPE.replace("0.2", "0"),
        "smoothing/some.yaml": RECIPE,
        "smoothing.yaml": TABLE,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setenv(OWN, str(folder))
    compose.register()
    axes_of.cache_clear()
    before = dict(TABLES)
    yield folder
    TABLES.clear()
    TABLES.update(before)
    axes_of.cache_clear()
    monkeypatch.undo()
    compose.register()


def test_rows_compose_and_are_the_same_where_all_that_they_set_is(mine: Path) -> None:
    assert own_tables() == ["smoothing"]
    config = compose.compose_row(["smoothing=some"])
    assert config.train.label_smoothing == 0.2
    assert cost.cost(config) == cost.cost(compose.compose_row(["table3=conv1"]))
    assert rows_like(axes_of("smoothing", "some")) == (("smoothing", "some"),)
    assert rows_like(axes_of("table3", "conv1")) == (("table3", "conv1"),)
    (mine / "smoothing" / "twin.yaml").write_text("# @package _global_\ndefaults:\n  - override /layers: conv1\n")
    assert set(rows_like(axes_of("table3", "conv1"))) == {("table3", "conv1"), ("smoothing", "twin")}
    assert str(compose.compose_row(["table3=alternating"]).layers.groups[1]) == "convolution"


@pytest.mark.slow
def test_a_table_of_ones_own_is_run_reported_and_shown(mine: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    small = [*TINY, "data.test_images=16", "data.train_images=32", f"output={output}"]
    ended = call("-m", "smoothing=glob(*)", *small, "--config-dir", str(mine), cwd=tmp_path)
    assert ended.code == 0, ended.text
    assert "Smoothing" in ended.out
    config = json.loads(only(output, "smoothing/some/*/config.json").read_text())
    assert config["command"].endswith(f"--config-dir '{mine}'")
    add_tables(output)  # as a report does, which needs no --config-dir
    runs = collect(output).runs
    (one,) = {(run.scale, run.variant) for run in runs}
    comparison = compare(TABLES["smoothing"], runs, *one)
    assert TABLES["smoothing"].folder == str(mine)
    assert [(line.row, line.status, line.cells) for line in comparison.lines] == [
        ("none", "finished", ("none", "-")),
        ("some", "finished", ("some", "")),
    ]
    assert comparison.lines[0].score().published == 70.1
    again = call("smoothing=some", *small, f"--config-dir={mine}")
    assert "finished already" in again.out, again.text


def test_a_table_of_ones_own_is_known_before_its_first_run_and_says_how_to_begin(mine: Path, tmp_path: Path) -> None:
    add_tables(tmp_path / "none")
    words = ["python", "run.py", "-m", "smoothing=glob(*)"]
    ending = ["--config-dir", str(mine)]
    hint = compare(TABLES["smoothing"], [], None).hint
    assert hint == f"nothing has been run yet: {shlex.join([*words, *ending])}"
    hint = compare(TABLES["smoothing"], [], "cifar10").hint
    assert hint.endswith(f"2 of 2 rows missing: {shlex.join([*words, 'scale=cifar10', *ending])}")


def test_every_command_of_its_help_finds_the_row(mine: Path) -> None:
    ended = call("smoothing=some", "--help", "--config-dir", str(mine))
    commands = [line for line in ended.out.splitlines() if line.startswith("  python run.py")]
    assert len(commands) == 3, ended.text
    assert all(f"--config-dir {shlex.quote(str(mine))}" in line for line in commands)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["table3=alternate"], "table3=alternate: no such row. Did you mean alternating"),
        (["smoothing=much"], "smoothing=much: no such row"),
        (["smoothing=some", "table3=conv1"], "a run is a row of one table"),
    ],
)
def test_what_is_refused(mine: Path, words: list[str], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        check_overrides(words, sweep=False)


def test_a_folder_that_is_none_is_refused_by_every_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(OWN, str(tmp_path / "none"))
    for program, words in ((cost, []), (plan, ["table1"]), (evaluate, ["RUN"])):
        monkeypatch.setattr("sys.argv", ["it", *words])
        with suppress(SystemExit):
            assert program.main() == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert f"{tmp_path}/none is no folder: --config-dir (or SASA_CONFIG_DIR) takes" in last


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    ended = call("seed=0", "--config-dir", str(tmp_path / "none"))
    assert (ended.code, "no folder: --config-dir (or SASA_CONFIG_DIR) takes" in ended.err) == (2, True), ended.text
    ended = call("seed=0", "--config-dir", str(tmp_path), f"--config-dir={tmp_path}", "--cfg", "job")
    assert (ended.code, "put your rows, tables and options into one folder" in ended.err) == (2, True), ended.text
    (tmp_path / "table3").mkdir()
    (tmp_path / "table3" / "conv1.yaml").write_text("# @package _global_\n")
    ended = call("seed=0", "--config-dir", str(tmp_path))
    assert (ended.code, "table3 has conv1 already" in ended.err) == (2, True), ended.text
    (tmp_path / "table3" / "conv1.yaml").rename(tmp_path / "table3" / "broken.yaml").write_text("stem: [conv,\n")
    ended = call("table3=broken", "--config-dir", str(tmp_path))
    assert (ended.code, "broken.yaml" in ended.err, len(ended.err.splitlines())) == (2, True, 1), ended.text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"titel": "x"}, "t.yaml: there is no titel. Did you mean title"),
        ({"split": "train"}, "split: train: expected validation or test"),
        ({"measures": ["acc"]}, "measures: acc: expected some of top1"),
        ({"rows": {"a": {"top": 1}}}, "rows.a has no top. Did you mean top1"),
        ({"rows": {"a": {"top1": "high"}}}, "rows.a.top1: 'high': expected a number"),
        ({"columns": ["k", "heads"], "rows": {"a": {"cells": [3]}}}, "cells has 1 entries, and there are 2 columns"),
        ({"columns": 5}, "columns: 5: expected a list of names"),
        ({"measures": [["top1"]]}, "expected a list of names"),
        ({"rows": ["a"]}, "expected row names, each with its fields"),
        ({"rows": {"a": 5}}, "expected row names, each with its fields"),
        ({"rows": {"a": None}, "reference": "b"}, "reference: b: there is no such row"),
    ],
)
def test_a_wrong_description_is_refused_in_words(content: dict, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        described("t", content)
