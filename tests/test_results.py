"""From records to decisions: the document of results, the order in which rows are trained, agreement with what was shipped."""

import os
import random
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, module
from records import add_run, add_table

from sasa.protocol import SEVERAL, SINGLE, Records, Step, next_step, tables_of
from sasa.records.collect import collect
from sasa.report.agreement import agreement
from sasa.report.paper import TABLES
from sasa.report.results import document
from sasa.report.verdicts import judge

SCALE = "cifar10"


def records(output: Path, tables: list[str] | None = None) -> Records:
    return Records(collect(output).runs, tables or tables_of(SCALE), SCALE, "")


def test_the_document_holds_every_table_with_its_verdicts(tmp_path: Path) -> None:
    for table in ("table1", "table3", "table5", "table6"):
        add_table(tmp_path / "outputs", table, scale=SCALE, seeds=3, noise=0.1, device="a device", commit="abc+")
    for seed, top1 in enumerate((60.0, 60.1, 60.2)):
        add_run(tmp_path / "outputs", "table6", "position", scale=SCALE, seed=seed, top1=top1, device="a device")
    (tmp_path / "notes.md").write_text("Two rates were *tried*.\n")
    done = module("sasa.report", "results", "--notes", "notes.md", "--to", "docs/results.md", cwd=tmp_path)
    assert done.code == 0, done.text
    missing = module("sasa.report", "results", "--notes", "note.md", cwd=tmp_path)
    assert missing.err.startswith("error: --notes note.md cannot be read as text"), missing.text
    text = (tmp_path / "docs" / "results.md").read_text()
    assert "- 66 runs, 0.8 hours of training in all" in text  # 22 rows, three seeds of 41.2 s
    assert "- device: a device" in text
    assert "\n\n## Notes\n\nTwo rates were *tried*.\n\n## What the paper says" in text
    before, _, after = text.partition("## Otherwise than in the paper")
    assert before.count("**reproduced**") == 4
    assert after.startswith("\n\n- q·r alone loses little to q·k + q·r: ")
    assert "| relative | 80.2 | " in text
    assert "| +2.6 | +" in text
    assert "Table 4 of" not in text
    assert "## Table 4" not in text
    assert "confirmed: ResNet-50: full attention loses little" in text
    assert "no finished run of k7" in text


def test_the_document_asks_for_a_scale_where_there_are_several(tmp_path: Path) -> None:
    assert "there is no finished run in outputs yet" in module("sasa.report", "results", cwd=tmp_path).err
    for scale in (SCALE, "demo"):
        add_run(tmp_path / "outputs", "table6", "position", scale=scale)
    assert (
        "one of: --scale cifar10 --variant '', --scale demo --variant ''"
        in module("sasa.report", "results", cwd=tmp_path).err
    )
    assert "Did you mean cifar10" in module("sasa.report", "results", "--scale", "cifar", cwd=tmp_path).err
    assert "# Results at scale demo" in document(collect(tmp_path / "outputs").runs, "demo", "", "x")


def train(output: Path, step: Step, noise: float) -> None:
    """What a sweep leaves, without the training."""
    for row in TABLES[step.table].rows:
        if row.name in step.rows:
            chance = random.Random(f"{row.name} {step.seed}").gauss(0, noise)
            add_run(output, step.table, row.name, scale=SCALE, seed=step.seed, top1=(row.top1 or 75) + chance)


def test_two_seeds_of_all_come_first_then_one_of_the_rest_then_a_third(tmp_path: Path) -> None:
    tables, order = ["table5", "table6", "figure5"], []
    while (step := next_step(records(tmp_path, tables), 1e9, set())) and len(order) < 6:
        order.append((step.table, step.seed))
        train(tmp_path, step, 0.01)
    assert order == [("table5", 0), ("table6", 0), ("table5", 1), ("table6", 1), ("figure5", 0), ("table5", 2)]
    assert {*SEVERAL, *SINGLE} == {*(f"table{number}" for number in range(1, 8)), "figure5"}
    assert (tables_of("coco"), "table2" in tables_of("demo"), "table2" in tables_of(SCALE)) == (["table2"], True, False)


def test_seeds_are_added_where_they_decide_and_nowhere_else(tmp_path: Path) -> None:
    """Table 6 is decided by three seeds; Table 7 is open and cheap; nobody looks at Table 5 before it."""
    for table in ("table5", "table6"):
        add_table(tmp_path, table, scale=SCALE, seeds=3, noise=0.01)
    for seed, deviation in enumerate((-0.5, 0.0, 0.5)):
        for row, level in (("attention", 60), ("attention_conv_values", 60), ("attention_spatial_values", 61)):
            add_run(tmp_path, "table7", row, scale=SCALE, seed=seed, top1=level + deviation)
    step = next_step(records(tmp_path, ["table5", "table6", "table7"]), 1e9, set())
    assert step is not None
    assert (step.table, step.seed) == ("table7", 3)
    assert set(step.rows) == {row.name for row in TABLES["table7"].rows}
    spent = records(tmp_path, ["table5", "table6", "table7"])
    assert next_step(spent, spent.seconds + spent.estimate(step) - 1, set()) is None
    assert spent.estimate(step) == pytest.approx(3 * 41.2)
    failed = {("table7", row, seed) for row in step.rows for seed in range(3, 12)}
    assert next_step(spent, 1e9, failed) is None


def test_a_statement_that_may_be_refuted_is_gone_on_with_though_a_claim_of_it_is_too_close_to_call(
    tmp_path: Path,
) -> None:
    """The spatially-aware values are as good as the plain ones, and probably worse than those of a convolution."""
    for seed, deviation in enumerate((-0.5, 0.0, 0.5)):
        for row, level in (("attention", 60), ("attention_conv_values", 61), ("attention_spatial_values", 60)):
            add_run(tmp_path, "table7", row, scale=SCALE, seed=seed, top1=level + deviation)
    step = next_step(records(tmp_path, ["table7"]), 1e9, set())
    assert step == Step("table7", ("attention_spatial_values", "attention_conv_values"), 3)


def test_a_claim_that_would_take_too_many_seeds_leaves_the_others_to_be_refuted(tmp_path: Path) -> None:
    """relative is a bit less than a point above absolute: some seeds refute that; absolute over none would take very many."""
    rows = {"relative": (60.6, 0.3), "absolute": (60.2, 0.3), "none": (60.0, 0.6)}
    for row, (level, spread) in rows.items():
        for seed, deviation in enumerate((-spread, 0.0, spread)):
            add_run(tmp_path, "table5", row, scale=SCALE, seed=seed, top1=level + deviation)
    (verdict,) = (one for one in judge(collect(tmp_path).runs, SCALE) if one.statement.table == "table5")
    refutable, many = verdict.findings
    assert refutable.needed is not None
    assert many.needed is not None
    assert refutable.needed <= 12 < many.needed
    assert next_step(records(tmp_path, ["table5"]), 1e9, set()) == Step("table5", ("relative", "absolute"), 3)


def test_overrides_are_read_as_run_py_reads_them(tmp_path: Path) -> None:
    """The launcher is no part of a run's variant, and of two values of a field the last one holds."""
    add_table(tmp_path, "table6", scale="demo", seeds=3)
    words = ("table6", "hydra/launcher=joblib", f"output={tmp_path / 'other'}", f"output={tmp_path}", "--hours", 1e-9)
    done = module("sasa.protocol", *words, cwd=tmp_path)
    assert done.code == 0, done.text
    assert "the pipeline works" in done.out
    assert "no finished run of position" not in done.out


def test_a_row_that_is_trained_as_another_table_s_is_left_to_it(tmp_path: Path) -> None:
    rows = [["table3", "attention"], ["table5", "relative"]]
    trains: dict[str, Any] = {"status": "running", "host": socket.gethostname(), "pid": os.getpid(), "rows": rows}
    add_run(tmp_path, "table3", "attention", scale=SCALE, **trains)
    assert next_step(records(tmp_path, ["table5"]), 1e9, set()) == Step("table5", ("none", "absolute"), 0)


def test_hidden_runs_are_not_trained_again_and_decide_nothing(tmp_path: Path) -> None:
    add_table(tmp_path, "table6", scale=SCALE, seeds=3, noise=0.01)
    for path in tmp_path.glob("table6/position/*/"):
        (path / "hidden").touch()
    found = collect(tmp_path)
    known = Records(found.runs, ["table6"], SCALE, "", found.hidden)
    assert known.lacking("table6", ["position"], 0) == ()
    assert {run.row for run in known.shown} == {"content_position"}


def test_rows_of_one_seed_are_promised_a_second_one_and_no_decision(tmp_path: Path) -> None:
    add_table(tmp_path, "table6", scale=SCALE, seeds=1)
    said = document(collect(tmp_path).runs, SCALE, "", "x")
    assert "About 82 s more of training would give its rows two seeds." in said
    assert "four times of five" not in said.partition("## How a verdict")[0]


def test_a_row_that_several_tables_share_is_asked_for_once(tmp_path: Path) -> None:
    shared = [["table3", "attention"], ["table5", "relative"]]
    add_run(tmp_path, "table3", "attention", scale=SCALE, rows=shared)
    assert next_step(records(tmp_path, ["table5"]), 1e9, set()) == Step("table5", ("none", "absolute"), 0)


def test_what_another_process_trains_is_left_to_it_until_there_is_nothing_else(tmp_path: Path) -> None:
    tables = ["table5", "table6"]
    trains: dict[str, Any] = {"status": "running", "host": socket.gethostname(), "pid": os.getpid()}
    add_run(tmp_path, "table5", "none", scale=SCALE, **trains)
    assert next_step(records(tmp_path, tables), 1e9, set()) == Step("table5", ("absolute", "relative"), 0)
    for row in ("absolute", "relative"):
        add_run(tmp_path, "table5", row, scale=SCALE, **trains)
    step = next_step(records(tmp_path, tables), 1e9, set())
    assert step == Step("table6", ("position", "content_position"), 0)
    for seed in range(3):
        for table in tables:
            train(tmp_path, Step(table, tuple(row.name for row in TABLES[table].rows), seed), 0.01)
    add_run(tmp_path, "table5", "none", scale=SCALE, **trains)
    assert next_step(records(tmp_path, tables), 1e9, set()) == Step("table5", ("none",), 0, waits=True)


def test_agreement_with_what_was_shipped(tmp_path: Path) -> None:
    add_table(tmp_path, "table6", scale=SCALE, seeds=3, noise=0.1)
    assert agreement(collect(tmp_path).runs, SCALE) == ""
    theirs = {"noise": 0.1, "scale": SCALE, "variant": "shipped, data.reader=folder"}
    add_table(tmp_path / "theirs", "table6", seeds=1, **theirs)  # type: ignore[arg-type]
    assert agreement(collect(tmp_path).runs, SCALE).endswith("trained alike: nothing to compare with them")
    add_table(tmp_path / "theirs", "table6", seeds=3, **theirs)  # type: ignore[arg-type]
    assert agreement(collect(tmp_path).runs, SCALE) == (
        "2 of 2 rows agree with the shipped results (those are shipped, data.reader=folder)"
    )
    assert agreement(collect(tmp_path).runs, SCALE, "train.lr=1").endswith("nothing to compare with them")
    add_table(tmp_path / "other", "table6", **theirs | {"seeds": 3, "variant": "shipped, train.lr=1"})  # type: ignore[arg-type]
    assert agreement(collect(tmp_path).runs, SCALE).endswith("(those are shipped, data.reader=folder)")
    add_table(tmp_path / "same", "table6", **theirs | {"seeds": 3, "variant": "shipped"})  # type: ignore[arg-type]
    assert agreement(collect(tmp_path).runs, SCALE) == "2 of 2 rows agree with the shipped results"
    for seed in range(3):
        add_run(tmp_path, "table6", "position", scale=SCALE, seed=seed, top1=40 + seed / 10)
    assert agreement(collect(tmp_path).runs, SCALE).startswith(
        "1 of 2 rows agree with the shipped results; ours differ in table6=position -"
    )


def test_shipped_runs_that_were_merged_agree_with_nothing_and_those_that_were_trained_again_do(tmp_path: Path) -> None:
    add_table(tmp_path, "table6", scale=SCALE, seeds=3, noise=0.1)
    runs = collect(tmp_path).runs
    shipped = [replace(run, variant="shipped") for run in runs]
    assert agreement([*runs, *shipped], SCALE).endswith("nothing to compare with them")
    again = [replace(run, started="2026-03-01T00:00:00") for run in runs]
    assert agreement([*again, *shipped], SCALE) == "2 of 2 rows agree with the shipped results"


@pytest.mark.slow
def test_the_protocol_trains_until_its_time_is_up_and_goes_on_from_there(tmp_path: Path) -> None:
    words = ("table6", "--scale", "demo", *TINY, f"output={tmp_path}")
    first = module("sasa.protocol", *words, "--hours", 1e-9, cwd=tmp_path)
    assert first.code == 0, first.text
    assert "table6, seed 0: position, content_position, nobody knows how long" in first.out
    assert "table6, seed 1" not in first.out
    assert "The next rows would take it above" in first.out
    assert "not decidable yet" in first.out or "the pipeline works" in first.out
    again = module("sasa.protocol", *words, "--hours", 1e-9, cwd=tmp_path)
    assert "seed 0:" not in again.out
    assert "h of training" in again.out


def test_the_protocol_refuses_what_run_py_refuses(tmp_path: Path) -> None:
    assert "unknown table 'table66'. Did you mean table6" in module("sasa.protocol", "table66", cwd=tmp_path).err
    done = module("sasa.protocol", "table6", "--scale", "cifra10", f"output={tmp_path}", cwd=tmp_path)
    assert done.code == 2
    assert "cifar10" in done.text
    for word, message in (("scale=cifar10", "give --scale"), ("seed=1", "the protocol chooses the seeds")):
        assert message in module("sasa.protocol", word, cwd=tmp_path).err
