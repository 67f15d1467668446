"""The report: published numbers, records of every kind, statistics, escaping, formats and the command line."""

import csv
import io
import json
import os
import re
import socket
import statistics
import string
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Ended, module
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rich.console import Console

from sasa.errors import InputError
from sasa.records.collect import collect
from sasa.report.groups import gather, settings
from sasa.report.paper import BOXES, TABLES, find_table, published
from sasa.report.tables.compare import Comparison, compare
from sasa.report.tables.remarks import remarks
from sasa.report.tables.terminal import costs_table, print_comparison, print_table
from sasa.report.tables.text import comma_separated, escape_latex, escape_markdown, latex, markdown, structured

ROWS = [["table1", "conv_stem_50"], ["table3", "attention"], ["table5", "relative"], ["figure5", "conv_stem_100"]]
NASTY = "<script>alert(1)</script> | [red]x[/red] \\ a_b 100% R&D #1 $x$ {y} ~^ * `z` \x1b[31m\ud800\nend"


def put(output: Path, folder: str, **fields: Any) -> Path:
    """Writes a finished run's record with these fields changed, and returns its folder."""
    record = {
        "key": "ab12",
        "table": folder.split("/")[0],
        "row": folder.split("/")[1],
        "scale": "demo",
        "variant": "",
        "seed": 0,
        "status": "finished",
        "reason": None,
        "same_as": None,
        "data": "shapes",
        "epochs": 8,
        "epochs_done": 8,
        "accuracy": {"validation": {"top1": 70.0}, "test": {"top1": 60.0}},
        "costs": {"flops": 1.2e8, "params": 123456},
        "paper_costs": {"flops": 6.97e9, "params": 18.04e6},
        "pid": 1,
        "host": "elsewhere",
        "started": "2026-01-01T00:00:00",
        **fields,
    }
    path = output / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / "result.json").write_text(json.dumps(record))
    config = {"command": f"python run.py {record['table']}={record['row']}", "config": {"seed": 0}}
    (path / "config.json").write_text(json.dumps(config))
    return path


def comparison(output: Path, table: str, scale: str = "demo", variant: str = "") -> Comparison:
    return compare(find_table(table), collect(output).runs, scale, variant)


def printed(found: Comparison, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    print_comparison(found, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def command(*arguments: object, cwd: Path) -> Ended:
    return module("sasa.report", *arguments, cwd=cwd)


@pytest.mark.parametrize(
    ("table", "row", "cells", "numbers"),
    [
        ("table1", "baseline_26", ("baseline", "26"), (4.7, 13.7, 74.5)),
        ("table1", "conv_stem_38", ("conv stem + attention", "38"), (5.7, 14.1, 77.1)),
        ("table1", "full_50", ("full attention", "50"), (7.2, 18.0, 77.6)),
        ("table3", "attention", ("-", "1,2,3,4"), (7.0, 18.0, 80.2)),
        ("table3", "conv123", ("1,2,3", "4"), (8.0, 20.8, 80.2)),
        ("table3", "attention12", ("3,4", "1,2"), (7.8, 25.0, 79.6)),
        ("table4", "k9", ("9",), (7.3, 18.0, 77.7)),
        ("table5", "absolute", ("absolute",), (6.9, 18.0, 78.2)),
        ("table6", "position", ("no", "yes"), (6.1, 16.7, 76.9)),
        ("table7", "attention_conv_values", ("spatial convolution for values",), (7.4, None, 77.2)),
        ("figure5", "conv_stem_100", ("conv stem + attention", "1.00"), (7.0, 18.0, 77.4)),
        ("figure5", "full_25", ("full attention", "0.25"), (None, None, None)),
    ],
)
def test_published_numbers(table: str, row: str, cells: tuple[str, ...], numbers: tuple[float | None, ...]) -> None:
    found = published(table, row)
    assert found is not None
    assert (found.cells, (found.flops, found.params, found.top1)) == (cells, numbers)


def test_published_tables_are_whole() -> None:
    sizes = {"table1": 9, "table2": 5, "table3": 8, "table4": 5, "table5": 3, "table6": 2, "table7": 3, "figure5": 15}
    assert {name: len(table.rows) for name, table in TABLES.items()} == sizes
    assert {name for name, table in TABLES.items() if table.split == "validation"} == {"table3", "table5"}
    for table in TABLES.values():
        assert len({row.name for row in table.rows}) == len(table.rows)
        assert all(len(row.cells) == len(table.columns) for row in table.rows)
    assert published("table3", "nothing") is None
    assert published("nothing", "conv") is None


def test_statistics_over_seeds(tmp_path: Path) -> None:
    values = [70.0, 71.5, 74.25]
    for seed, value in enumerate(values):
        accuracy = {"validation": {"top1": value}, "test": {"top1": 1.0}}
        put(tmp_path, f"table3/conv/seed={seed}", seed=seed, accuracy=accuracy)
    line = next(line for line in comparison(tmp_path, "table3").lines if line.row == "conv")
    assert line.score().mean == statistics.mean(values)
    assert line.score().deviation == pytest.approx(statistics.stdev(values))
    assert line.seeds == 3
    assert line.score().difference is None  # other images than the paper's
    assert line.flops_difference == pytest.approx(6.97 - 8.2)
    assert "71.9 ± 2.2 (3)" in printed(comparison(tmp_path, "table3"))


def test_the_same_seed_in_two_folders_counts_once(tmp_path: Path) -> None:
    put(tmp_path, "table4/k3", status="failed", accuracy={}, started="2026-03-01")
    put(tmp_path, "table4/k3/seed=0", started="2026-02-01")
    put(tmp_path, "table4/k3/again", started="2026-01-01", accuracy={"test": {"top1": 10.0}})
    line = comparison(tmp_path, "table4").lines[0]
    assert (line.status, line.score().mean, line.seeds, line.score().deviation) == ("finished", 60.0, 1, None)


def test_a_finished_run_counts_in_every_table_that_has_its_configuration(tmp_path: Path) -> None:
    put(tmp_path, "table1/conv_stem_50", rows=ROWS, accuracy={"validation": {"top1": 71.0}, "test": {"top1": 61.0}})
    for table, row in ROWS:
        line = next(line for line in comparison(tmp_path, table).lines if line.row == row)
        assert (line.status, line.score().mean) == ("finished", 71.0 if TABLES[table].split == "validation" else 61.0)
        assert line.notes == (() if table == "table1" else (f"{row}: the same run as table1/conv_stem_50",))
    assert {line.status for line in comparison(tmp_path, "table7").lines} == {"missing"}
    put(tmp_path, "table5/relative", accuracy={"validation": {"top1": 72.0}})  # its own run comes first
    assert [line.score().mean for line in comparison(tmp_path, "table5").lines] == [None, None, 72.0]


@pytest.mark.parametrize("change", [{"status": "running"}, {"scale": "cifar10"}, {"variant": "extent=k3"}])
def test_runs_that_are_not_the_same_do_not_count_elsewhere(tmp_path: Path, change: dict[str, str]) -> None:
    put(tmp_path, "table1/conv_stem_50", rows=ROWS, **change)
    assert {line.status for line in comparison(tmp_path, "table5").lines} == {"missing"}


def test_the_plain_run_counts_as_the_row_that_it_is(tmp_path: Path) -> None:
    put(tmp_path, "run/scale=demo,seed=0", table=None, row=None, rows=ROWS)
    line = comparison(tmp_path, "table5").lines[-1]
    assert (line.row, line.score().mean, line.notes) == (
        "relative",
        70.0,
        ("relative: the same run as run/scale=demo,seed=0",),
    )
    assert [line.status for line in comparison(tmp_path, "table1").lines].count("finished") == 1


def test_another_split_never_stands_in(tmp_path: Path) -> None:
    put(tmp_path, "table3/conv", accuracy={"test": {"top1": 60.0}})
    line = next(line for line in comparison(tmp_path, "table3").lines if line.row == "conv")
    assert line.score().mean is None
    assert line.notes == ("conv: finished without a top-1 on the validation split",)
    assert "no top-1" in printed(comparison(tmp_path, "table3"))


def test_statuses(tmp_path: Path) -> None:
    here = socket.gethostname()
    put(tmp_path, "table4/k3", status="failed", accuracy={}, reason="CUDA out of memory", epochs_done=1)
    put(tmp_path, "table4/k5", status="running", accuracy={}, epochs_done=3, host=here, pid=os.getpid())
    put(tmp_path, "table4/k7", status="running", accuracy={}, epochs_done=3, host=here, pid=2**22 + 1)
    put(tmp_path, "table4/k9", same_as="table1/conv_stem_50")
    found = comparison(tmp_path, "table4")
    assert [line.status for line in found.lines] == ["failed", "running", "interrupted", "finished", "missing"]
    text = printed(found)
    for part in ("failed 1/8", "CUDA out of memory", "running 3/8", "interrupted 3/8", "its process is gone"):
        assert part in text
    for part in ("python run.py table4=k7", "k9: the same run as table1/conv_stem_50", "table4=k11 scale=demo"):
        assert part in text


def test_one_seed_failed_beside_finished_ones(tmp_path: Path) -> None:
    for seed in range(2):
        put(tmp_path, f"table4/k3/seed={seed}", seed=seed)
    for seed in (2, 3):
        put(tmp_path, f"table4/k3/seed={seed}", seed=seed, status="failed", accuracy={}, reason="boom")
    line = comparison(tmp_path, "table4").lines[0]
    assert (line.status, line.seeds, line.notes) == ("finished", 2, ("k3, seeds 2 3: failed: boom",))


def test_rows_that_differ_say_so(tmp_path: Path) -> None:
    put(tmp_path, "table4/k3", epochs=2)
    put(tmp_path, "table4/k3/seed=1", seed=1, epochs=8)
    found = comparison(tmp_path, "table4")
    assert "2 or 8 epochs (rows differ)" in found.caption
    assert any("its seeds differ" in note for note in found.lines[0].notes)


def test_rows_of_several_versions_say_so(tmp_path: Path) -> None:
    put(tmp_path, "table4/k3", semantics=2)
    assert "several versions" not in comparison(tmp_path, "table4").caption
    put(tmp_path, "table4/k5")  # as an earlier version wrote it
    assert "several versions of sasa" in comparison(tmp_path, "table4").caption


def test_detectors_say_where_their_backbones_start(tmp_path: Path) -> None:
    put(tmp_path, "table2/conv_full")
    assert "backbones from nothing;" in comparison(tmp_path, "table2").caption
    folder = put(tmp_path, "table2/conv_baseline")
    config = {"backbone": {"weights": "table1/baseline_50"}}
    (folder / "config.json").write_text(json.dumps({"command": "", "config": config}))
    assert "backbones from nothing or weights (rows differ);" in comparison(tmp_path, "table2").caption


def test_best_is_marked_in_every_format(tmp_path: Path) -> None:
    put(tmp_path, "table4/k3", accuracy={"test": {"top1": 50.0}})
    put(tmp_path, "table4/k11", accuracy={"test": {"top1": 55.0}})
    found = comparison(tmp_path, "table4")
    assert [line.row for line in found.lines if line.best] == ["k11"]
    assert "**55.0**" in markdown([found])
    assert r"\textbf{55.0}" in latex([found])


def test_rows_of_the_users_own_come_last(tmp_path: Path) -> None:
    put(tmp_path, "table4/k13")
    found = comparison(tmp_path, "table4")
    assert [line.row for line in found.lines] == ["k3", "k5", "k7", "k9", "k11", "k13"]
    assert found.lines[-1].score().published is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"status": "finished"}', b'{"status": []}', b"9" * 5000],
)
def test_broken_records_become_warnings(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, "table4/k3")
    (put(tmp_path, "table4/k5") / "result.json").write_bytes(content)
    foreign = tmp_path / "elsewhere"
    foreign.mkdir()
    (foreign / "result.json").write_bytes(content)
    found = collect(tmp_path)
    assert [run.row for run in found.runs] == ["k3"]
    assert any("k5" in warning for warning in found.warnings)
    assert any("elsewhere" in warning for warning in found.warnings)


def test_missing_and_unreadable_places(tmp_path: Path) -> None:
    assert collect(tmp_path / "nothing").runs == ()
    (tmp_path / "folder" / "result.json").mkdir(parents=True)
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling" / "result.json").symlink_to(tmp_path / "gone")
    found = collect(tmp_path)
    assert found.runs == ()
    assert len(found.warnings) == 1


def test_a_result_that_is_not_there_is_an_interrupted_run(tmp_path: Path) -> None:
    folder = tmp_path / "table4" / "k3"
    folder.mkdir(parents=True)
    identity = {"table": "table4", "row": "k3", "scale": "demo", "variant": "", "seed": 0}
    (folder / "config.json").write_text(json.dumps(identity))
    assert comparison(tmp_path, "table4").lines[0].status == "interrupted"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
TOP1 = st.fixed_dictionaries({}, optional={"top1": st.floats(0, 100) | JSON, "top5": JSON})
COSTS = JSON | st.fixed_dictionaries({"flops": st.floats(0, 1e12) | JSON, "params": st.floats(0, 1e12) | JSON})
OPTIONAL = ["key", "same_as", "command", "config", "data", "epochs", "epochs_done", "backend", "device"]
OPTIONAL += ["versions", "seconds", "images_per_second", "skipped_images", "pid", "host", "started"]
RECORD = st.fixed_dictionaries(
    {
        "table": st.sampled_from(["table3", "table4", None]),
        "row": st.sampled_from(["k3", "k5", "conv", "own", NASTY, None]),
        "scale": st.sampled_from(["demo", "cifar10", "imagenet"]),
        "variant": st.sampled_from(["", "train.epochs=2", "a=1,b=2"]),
        "seed": st.integers(0, 3),
        "status": st.sampled_from(["running", "finished", "failed", "interrupted"]),
        "accuracy": JSON | st.fixed_dictionaries({}, optional={"validation": TOP1, "test": TOP1}),
        "costs": COSTS,
        "paper_costs": COSTS,
        "reason": st.just(NASTY) | st.text(max_size=20) | JSON,
    },
    optional=dict.fromkeys(OPTIONAL, JSON),
)
# A record's text, sometimes half-written, sometimes not a run's at all.
FILE = st.one_of(RECORD.map(json.dumps), JSON.map(json.dumps), RECORD.map(lambda record: json.dumps(record)[:-9]))


@hypothesis_settings(max_examples=40)
@given(st.lists(st.tuples(st.none() | FILE, st.none() | FILE), max_size=8), st.sampled_from([30, 80, 160]))
def test_any_records_are_shown_and_never_mixed(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[str | None, str | None]], width: int
) -> None:
    output = tmp_path_factory.mktemp("outputs")
    for index, texts in enumerate(files):
        folder = output / str(index)
        folder.mkdir()
        for name, text in zip(("config.json", "result.json"), texts, strict=True):
            if text is not None:
                (folder / name).write_text(text)
    runs = collect(output).runs
    shown = 0
    for table in (TABLES["table3"], TABLES["table4"]):
        for scale, variant in [*settings(runs, table.name), (None, "")]:
            found = compare(table, runs, scale, variant)
            for line in found.lines:
                for run in line.runs:
                    assert line.row in (run.row if run.table == table.name else None, dict(run.rows).get(table.name))
                    assert run.table == table.name or run.status == "finished"
                assert len({run.seed for run in line.runs}) == len(line.runs)
            assert {(run.scale, run.variant) for run in found.runs} <= {(scale, variant)}
            assert "\x1b" not in markdown([found]) + latex([found]) + comma_separated([found]) + structured([found])
            printed(found, width).encode()
        every_group = [gather(runs, table.name, *setting) for setting in settings(runs, table.name)]
        shown += sum(
            run.table == table.name for groups in every_group for group in groups.values() for run in group.runs
        )
    own = [run for run in runs if run.table in TABLES and run.row is not None]
    begun = {(run.table, run.scale, run.variant) for run in own if run.began or not run.variant}
    rows = {(run.table, run.scale, run.variant, run.row, run.seed) for run in own}
    assert shown == sum(row[:3] in begun for row in rows)


def test_500_runs_are_collected_quickly(tmp_path: Path) -> None:
    for index in range(500):
        put(tmp_path, f"table4/k3/seed={index}", seed=index)
    start = time.process_time()
    assert comparison(tmp_path, "table4").lines[0].seeds == 500
    assert time.process_time() - start < 1  # a tenth of it


def test_escaping(tmp_path: Path) -> None:
    put(tmp_path, "table4/own", row=NASTY, status="failed", accuracy={}, reason=NASTY)
    found = comparison(tmp_path, "table4")
    assert "[red]x[/red]" in printed(found, width=240)
    assert "\x1b[31m" not in printed(found, width=240)
    text = markdown([found])
    assert "<script>" not in text
    table_rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace(r"\|", "").count("|") for line in table_rows} == {13}
    assert r"\_b 100\% R\&D \#1 \$x\$ \{y\} \textasciitilde{}\textasciicircum{}" in latex([found])
    rows = list(csv.DictReader(io.StringIO(comma_separated([found]))))
    assert rows[-1]["row"].startswith("<script>alert(1)</script> | [red]x[/red] \\ a_b 100% R&D")


@given(st.text(string.printable))
def test_escaped_text_has_no_bare_specials(text: str) -> None:
    assert not set(escape_markdown(text)) & set("<>\n\x0b")
    # What is left of LaTeX's specials once the escapes are taken out.
    escaped = escape_latex(text)
    for name in ("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar"):
        escaped = escaped.replace(f"\\{name}{{}}", "")
    for character in "{}$&#%_":
        escaped = escaped.replace(f"\\{character}", "")
    assert not set(escaped) & set("\\{}$&#%_~^<>|")


def test_formats_parse_back(tmp_path: Path) -> None:
    put(tmp_path, "table3/conv", same_as="table1/baseline_50")
    put(tmp_path, "table4/k3")
    found = [comparison(tmp_path, "table3"), comparison(tmp_path, "table4")]
    rows = list(csv.DictReader(io.StringIO(comma_separated(found))))
    assert len(rows) == 13
    conv = next(row for row in rows if row["row"] == "conv")
    assert (conv["convolution"], conv["k"], conv["status"]) == ("1,2,3,4", "", "finished")
    assert float(conv["top1"]) == 70.0
    tables = json.loads(structured(found))
    assert [table["table"] for table in tables] == ["table3", "table4"]
    row = next(row for row in tables[0]["rows"] if row["row"] == "conv")
    assert (row["top1"], row["top1_published"], row["cells"]["attention"]) == (70.0, 79.5, "-")
    assert row["runs"][0]["same_as"] == "table1/baseline_50"
    text = latex(found)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert {line.count(" & ") for line in body} == {12}


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_dropped(tmp_path: Path, width: int) -> None:
    for seed in range(3):
        put(tmp_path, f"table3/conv/seed={seed}", seed=seed, accuracy={"validation": {"top1": 70.0 + seed}})
    text = printed(comparison(tmp_path, "table3"), width)
    assert max(map(len, text.splitlines())) <= width
    for part in ("71.0 ± 1.0 (3)", "FLOPs (G)", "parameters (M)", "1,2,3,4"):
        assert part in text
    assert ("network as run" in text) == (width == 160)


@pytest.mark.parametrize("width", [80, 120])
def test_detection_with_seeds_keeps_the_names_of_its_rows(tmp_path: Path, width: int) -> None:
    for seed in range(2):
        accuracy = {"test": {name: 30.0 + index + seed for index, name in enumerate(BOXES)}}
        put(tmp_path, f"table2/attention_full/seed={seed}", seed=seed, accuracy=accuracy)
    text = printed(comparison(tmp_path, "table2"), width)
    assert max(map(len, text.splitlines())) <= width
    for part in ("convolution conv stem + attention", "ours (2)", "params (M)", "APl"):
        assert part in " ".join(text.split())
    assert re.search(r"│ +± +│ .*" + " ".join(["0.7"] * 6), re.sub(" +", " ", text))


def test_what_stands_below_a_table(tmp_path: Path) -> None:
    for row, top1 in (("k3", 50.0), ("k5", 51.0)):
        folder = put(
            tmp_path, f"table4/{row}", accuracy={"test": {"top1": top1}}, paper_costs={"flops": 6.6e9, "params": 1}
        )
        (folder / "config.json").write_text(json.dumps({"config": {"data": {"size": 64}}}))
    put(tmp_path, "table4/k5", accuracy={"test": {"top1": 51.0}}, paper_costs={"flops": 6.8e9, "params": 1})
    maps, gains = remarks(comparison(tmp_path, "table4"))
    assert maps.startswith("The maps of 16, 8, 4 and 2 pixels cannot tell k = 7 from 11")
    assert "k3 to k5 +5.0 (paper +4.0), k5 to k7 - (paper +0.7)" in gains
    (gains,) = remarks(comparison(tmp_path / "none", "table4"))
    assert "k9 to k11 - (paper -0.3)" in gains
    assert "prints none of its numbers" in printed(comparison(tmp_path, "figure5"))


def test_print_table(tmp_path: Path) -> None:
    put(tmp_path, "table4/k3")
    console = Console(file=io.StringIO(), width=100)
    print_table("table4", "demo", "", tmp_path, console)
    assert "60.0" in console.file.getvalue()  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="Did you mean table4"):
        print_table("tabel4", "demo", "", tmp_path, console)


def test_costs_table() -> None:
    costs = {("table4", "k3"): (6.51e9, 18.02e6), ("table4", "k7"): (6.97e9, 18.04e6), ("table4", "own"): (1e9, 1e6)}
    console = Console(file=io.StringIO(), width=100)
    costs_table(costs, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Table 4" in text
    assert "Table 3" not in text
    assert "largest deviations: -0.09 G of FLOPs (table4 k3); +0.04 M parameters (table4 k7)" in text


def test_command_without_runs(tmp_path: Path) -> None:
    alone = command(cwd=tmp_path)
    assert (alone.code, alone.out) == (0, "")
    assert "No runs in outputs yet" in alone.err
    table = command("table3", cwd=tmp_path)
    assert table.code == 0
    assert table.out.count("missing") == 8
    assert "make table3, or python run.py -m 'table3=glob(*)'" in table.out
    put(tmp_path / "outputs", "run/scale=demo,seed=0", table=None, row=None, rows=ROWS)  # make demo alone
    assert "70.0" in command("table5", cwd=tmp_path).out
    shown = csv.DictReader(io.StringIO(command("--format", "csv", cwd=tmp_path).out))
    assert {row["table"] for row in shown if row["status"] == "finished"} == {table for table, _ in ROWS}
    everything = command("all", "--format", "json", cwd=tmp_path)
    assert [table["table"] for table in json.loads(everything.out)] == list(TABLES)


def test_command_with_runs(tmp_path: Path) -> None:
    put(tmp_path / "outputs", "table4/k3")
    put(tmp_path / "outputs", "table4/k3/long", scale="cifar10", accuracy={"test": {"top1": 91.2}})
    put(tmp_path / "outputs", "table4/k3/short", variant="train.epochs=2", accuracy={"test": {"top1": 33.3}})
    (tmp_path / "outputs" / "result.json").write_text("{")
    alone = command("--format", "csv", cwd=tmp_path)
    rows = [row for row in csv.DictReader(io.StringIO(alone.out)) if row["top1"]]
    settings_shown = [(row["scale"], row["variant"], float(row["top1"])) for row in rows]
    assert settings_shown == [("cifar10", "", 91.2), ("demo", "", 60.0), ("demo", "train.epochs=2", 33.3)]
    assert "outputs/result.json: cannot be read" in alone.err
    one = command(
        "table4", "--scale", "demo", "--variant", "", "--to", "new/table.md", "--format", "markdown", cwd=tmp_path
    )
    assert (one.code, one.out) == (0, "")
    text = (tmp_path / "new" / "table.md").read_text()
    assert "60.0" in text
    assert "91.2" not in text
    assert "33.3" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tabel3"], "unknown table 'tabel3'. Did you mean table3"),
        (["table3", "--scale", "dmeo"], "unknown scale 'dmeo'. Did you mean demo"),
        (["--variant", "train.epoch=2"], "unknown variant 'train.epoch=2'. Did you mean train.epochs=2"),
        (["--format", "latec"], "unknown format 'latec'. Did you mean latex"),
        (["all", "--to", "outputs"], "cannot write to outputs: Is a directory"),
        (["browse", "--port", "99999"], "--port 99999: expected a number from 0 to 65535"),
        (["browse", "--output", "outputs/table4/k3/config.json"], "config.json is no folder and cannot be made one"),
    ],
)
def test_command_errors(tmp_path: Path, arguments: list[str], message: str) -> None:
    put(tmp_path / "outputs", "table4/k3", variant="train.epochs=2")
    done = command(*arguments, cwd=tmp_path)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) == 1


def test_starts_without_heavy_packages() -> None:
    code = (
        "import sys, sasa.report.__main__, sasa.report.tables.terminal\n"
        "assert not {'torch', 'timm', 'hydra', 'wandb', 'omegaconf', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
