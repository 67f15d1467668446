"""The paper's statements, and what runs say of them."""

import json
import math
import random
from pathlib import Path

import pytest
from conftest import module
from records import add_run, add_table

from sasa.records.collect import collect
from sasa.report.paper import TABLES, find_table
from sasa.report.statements import STATEMENTS
from sasa.report.tables.compare import compare
from sasa.report.verdicts import Verdict, claim_text, judge


def said_of(output: Path, name: str, scale: str = "cifar10") -> Verdict:
    return next(one for one in judge(collect(output).runs, scale) if one.statement.name == name)


def put_table6(output: Path, position: list[float], both: list[float], **fields: object) -> None:
    for row, values in (("position", position), ("content_position", both)):
        for seed, top1 in enumerate(values):
            add_run(output, "table6", row, seed=seed, top1=top1, **{"scale": "cifar10"} | fields)  # type: ignore[arg-type]


def put_table4(output: Path, levels: dict[str, float], size: int = 224) -> None:
    for row, level in levels.items():
        for seed in range(4):
            data = {"classes": 10, "size": size}
            top1 = level + 0.1 * (seed - 1.5)
            add_run(output, "table4", row, scale="cifar10", seed=seed, top1=top1, config={"data": data})


def test_interval_of_a_known_case(tmp_path: Path) -> None:
    put_table6(tmp_path, [49.8, 50.0, 50.2], [49.9, 50.1, 50.3])
    one = said_of(tmp_path, "interaction")
    (claim,) = one.findings
    half = 2.776445 * 0.2 * math.sqrt(2 / 3)  # two samples of deviation 0.2, four degrees of freedom
    assert claim.difference == pytest.approx(-0.1)
    assert (claim.low, claim.high) == pytest.approx((-0.1 - half, -0.1 + half), abs=1e-4)
    assert one.verdict == "reproduced"  # the loss is less than one point
    assert claim.seeds == 3


def test_a_row_that_diverges_does_not_widen_the_intervals_of_others(tmp_path: Path) -> None:
    add_table(tmp_path, "table1", scale="cifar10", seeds=3, noise=0.05)
    before = said_of(tmp_path, "cheaper").findings
    for seed, top1 in enumerate((80.0, 12.0, 81.0)):
        add_run(tmp_path, "table1", "full_26", scale="cifar10", seed=seed, top1=top1)
    after = said_of(tmp_path, "cheaper").findings
    assert [one for one in after if "full_26" not in one.claim.rows] == [
        one for one in before if "full_26" not in one.claim.rows
    ]


@pytest.mark.parametrize(
    ("position", "both", "verdict", "why"),
    [
        ([40.0, 40.2, 40.4], [50.0, 50.2, 50.4], "not reproduced", "loses little"),
        ([49.8, 51.3, 48.3], [50.0, 51.0, 49.0], "not decidable yet", "seeds a row would decide"),
        ([50.0], [50.1], "not decidable yet", "one says nothing about chance"),
        ([50.0, 50.0], [50.0, 50.0], "not decidable yet", "do not differ at all"),
        ([50.0, 50.1], [], "not decidable yet", "no finished run of content_position"),
    ],
)
def test_verdicts(tmp_path: Path, position: list[float], both: list[float], verdict: str, why: str) -> None:
    put_table6(tmp_path, position, both)
    one = said_of(tmp_path, "interaction")
    assert one.verdict == verdict
    assert why in one.why


def test_seeds_that_are_needed_are_told_by_row(tmp_path: Path) -> None:
    put_table6(tmp_path, [49.8, 51.3, 48.3], [50.0, 51.0, 49.0])
    one = said_of(tmp_path, "interaction")
    (claim,) = one.findings
    assert claim.needed is not None
    assert f"{claim.needed} seeds a row would decide" in one.why
    assert one.needed == {"position": claim.needed, "content_position": claim.needed}
    put_table6(tmp_path, [40.0, 40.2, 40.4], [50.0, 50.2, 50.4])
    assert said_of(tmp_path, "interaction").needed == {}
    assert said_of(tmp_path, "position").needed == {"relative": 2, "absolute": 2, "none": 2}


def test_one_claim_among_many_is_refuted_later_than_alone(tmp_path: Path) -> None:
    """ResNet-26 loses a bit more than a point: below the margin at 95 %, but not at the 99.2 % of six claims."""
    add_table(tmp_path, "table1", scale="cifar10", seeds=3, noise=0.05)
    for seed, deviation in enumerate((-0.1, 0.0, 0.1)):
        add_run(tmp_path, "table1", "baseline_26", scale="cifar10", seed=seed, top1=80 + deviation)
        add_run(tmp_path, "table1", "conv_stem_26", scale="cifar10", seed=seed, top1=78.7 + deviation)
    one = said_of(tmp_path, "cheaper")
    claim = one.findings[0]
    assert claim.high is not None
    assert claim.high < claim.claim.margin
    assert (claim.verdict, one.verdict) == ("open", "not decidable yet")
    assert "below the margin alone, not among 6 claims" in one.why
    for seed, deviation in enumerate((-0.1, 0.0, 0.1)):
        add_run(tmp_path, "table1", "conv_stem_26", scale="cifar10", seed=seed, top1=77.0 + deviation)
    assert said_of(tmp_path, "cheaper").verdict == "not reproduced"


def test_rows_of_unlike_runs_decide_nothing(tmp_path: Path) -> None:
    put_table6(tmp_path, [50.0, 50.2], [50.1, 50.2])
    add_run(tmp_path, "table6", "position", scale="cifar10", seed=1, top1=50.2, epochs=3)
    assert "differ in data, epochs or the version" in said_of(tmp_path, "interaction").why
    lines = compare(find_table("table6"), collect(tmp_path).runs, "cifar10").lines
    assert [line.effect and line.effect.value for line in lines] == [None, None]


@pytest.mark.parametrize(("level", "why"), [(11.8, "at chance"), (12.0, ""), (99.5, ""), (99.7, "at the ceiling")])
def test_four_standard_errors_above_chance_and_four_images_below_the_ceiling_are_enough(
    tmp_path: Path, level: float, why: str
) -> None:
    """1000 images of 10 classes, four seeds: 10 + 4 * 100 sqrt(0.1 * 0.9 / 4000) = 11.9 %; and 99.6 %."""
    values = [level - 0.02, level, level, level + 0.02]
    put_table6(tmp_path, values, values, config={"data": {"classes": 10}})
    one = said_of(tmp_path, "interaction")
    assert one.verdict == ("not decidable yet" if why else "reproduced")
    assert one.why.startswith(why)


def test_a_claim_of_one_seed_or_of_none_is_told_in_words(tmp_path: Path) -> None:
    put_table6(tmp_path, [50.0], [50.5])
    (claim,) = said_of(tmp_path, "interaction").findings
    assert claim_text(claim) == (
        "q·r alone loses little to q·k + q·r: -0.50, 1 seed; paper -0.5; "
        "needs 2 seeds a row or more: one says nothing about chance"
    )
    assert claim.needed == 2
    (claim,) = said_of(tmp_path / "nothing", "interaction").findings
    assert claim_text(claim) == (
        "q·r alone loses little to q·k + q·r: no difference yet; paper -0.5; "
        "no finished run of position, content_position"
    )
    assert (claim.seeds, claim.needed) == (0, 2)
    drawn = next(one for one in said_of(tmp_path, "widths").findings if one.published is None)
    assert "; paper draws it; " in claim_text(drawn)


@pytest.mark.parametrize("lost", [{"images": {}}, {"config": {}}])
def test_results_on_an_unknown_number_of_images_or_classes_decide_nothing(
    tmp_path: Path, lost: dict[str, object]
) -> None:
    put_table6(tmp_path, [50.0, 50.2], [50.1, 50.2], **lost)
    one = said_of(tmp_path, "interaction")
    assert (one.verdict, one.why) == ("not decidable yet", "its number of images or classes is not recorded")


@pytest.mark.parametrize("row", ["attention_spatial_values", "attention_conv_values"])
def test_a_row_whose_costs_are_not_recorded_is_not_said_to_be_cheaper(tmp_path: Path, row: str) -> None:
    add_table(tmp_path, "table7", scale="cifar10", seeds=2, noise=0.05)
    for seed in range(2):
        add_run(tmp_path, "table7", row, scale="cifar10", seed=seed, top1=80 + seed / 10, paper_costs=None)
    _, claim = said_of(tmp_path, "stem").findings
    assert (claim.verdict, claim.why) == ("open", "its costs are not recorded")


def test_detectors_are_compared_by_ap(tmp_path: Path) -> None:
    """By no other of COCO's six numbers, ours as the paper's."""
    for row in TABLES["table2"].rows:
        for seed in range(3):
            ap = (30.0 if row.name == "conv_baseline" else 29.8) + seed / 100
            six = {
                "ap": ap,
                "ap50": 50.0,
                "ap75": 40.0,
                "ap_small": 9.0,
                "ap_medium": 20.0 + seed,
                "ap_large": 30.0 + seed,
            }
            add_run(tmp_path, "table2", row.name, scale="cifar10", seed=seed, accuracy={"validation": six, "test": six})
    one = said_of(tmp_path, "detection")
    assert [claim.difference for claim in one.findings] == [pytest.approx(-0.2)] * 4
    assert [claim.published for claim in one.findings] == [pytest.approx(gain) for gain in (0.3, -0.3, 0.1, 0.1)]


def test_scales_and_variants_are_not_mixed(tmp_path: Path) -> None:
    put_table6(tmp_path, [50.0, 50.2], [50.1, 50.2])
    put_table6(tmp_path, [50.0, 50.2], [50.1, 50.2], scale="demo", variant="train.epochs=1")
    assert said_of(tmp_path, "interaction", "demo").findings[0].difference is None
    assert said_of(tmp_path, "interaction").verdict == "reproduced"


def test_the_paper_s_own_differences_reproduce_every_statement(tmp_path: Path) -> None:
    for statement in STATEMENTS:
        add_table(tmp_path, statement.table, scale="imagenet", seeds=4, noise=0.03)
    judged = judge(collect(tmp_path).runs, "imagenet")
    assert {one.statement.name: one.verdict for one in judged} == {one.name: "reproduced" for one in STATEMENTS}
    for one in judged:  # and every claim says what the paper itself prints, where it does
        assert all(claim.published is None or claim.published > claim.claim.margin for claim in one.findings)
        assert {row for claim in one.findings for row in claim.claim.rows} <= {
            row.name for row in TABLES[one.statement.table].rows
        }
    assert {one.table for one in STATEMENTS} == {*(f"table{number}" for number in range(1, 8)), "figure5"}


def test_weights_of_a_claim_sum_to_nothing() -> None:
    for claim in (claim for statement in STATEMENTS for claim in statement.claims):
        assert sum(weight for _, weight in claim.weights) == pytest.approx(0, abs=1e-12)
        assert len(set(claim.rows)) == len(claim.rows)


def test_attention_that_matches_with_a_convolution_stem_alone_does_not_match(tmp_path: Path) -> None:
    add_table(tmp_path, "table1", scale="cifar10", seeds=3, noise=0.05)
    assert said_of(tmp_path, "cheaper").verdict == "reproduced"
    for seed in range(3):
        add_run(
            tmp_path, "table1", "full_50", scale="cifar10", seed=seed, top1=0.1 + seed / 100
        )  # chance of 1000 classes
    assert said_of(tmp_path, "cheaper").verdict == "not reproduced"
    for seed in range(3):
        add_run(tmp_path, "table1", "baseline_50", scale="cifar10", seed=seed, top1=0.1 + seed / 100)
    assert [claim.why for claim in said_of(tmp_path, "cheaper").findings if "50" in claim.claim.text] == [
        "at chance, where nothing can be compared: baseline_50",
        "at chance, where nothing can be compared: full_50, baseline_50",
    ]


def test_a_steady_gain_with_k_does_not_flatten(tmp_path: Path) -> None:
    put_table4(tmp_path, {f"k{k}": 60 + 0.4 * k for k in (3, 5, 7, 9, 11)})
    poor, flat = said_of(tmp_path, "extent").findings
    assert (poor.verdict, flat.verdict) == ("confirmed", "open")
    assert flat.difference == pytest.approx(0)
    put_table4(tmp_path, {"k3": 60, "k5": 62, "k7": 63, "k9": 63.2, "k11": 63.3})
    assert said_of(tmp_path, "extent").verdict == "reproduced"


def test_small_maps_cannot_tell_extents_apart(tmp_path: Path) -> None:
    levels = {"k3": 60.0, "k5": 62.0, "k7": 63.0, "k9": 63.2, "k11": 63.3}
    put_table4(tmp_path, levels, size=64)
    one = said_of(tmp_path, "extent")
    assert one.verdict == "not decidable yet"
    assert one.why == "maps of 16, 8, 4 and 2 pixels cannot tell k = 7 from 11: on 4 and less both see everything"
    put_table4(tmp_path, levels, size=96)
    assert said_of(tmp_path, "extent").verdict == "reproduced"


def test_attention_that_is_not_cheaper_does_not_match(tmp_path: Path) -> None:
    add_table(tmp_path, "table1", scale="cifar10", seeds=3, noise=0.05)
    for seed in range(3):
        costs = {"flops": 9e9, "params": 3e7}
        add_run(tmp_path, "table1", "conv_stem_50", scale="cifar10", seed=seed, top1=80 + seed / 10, paper_costs=costs)
    one = said_of(tmp_path, "cheaper")
    assert one.verdict == "not reproduced"
    assert "not cheaper: FLOPs +10 %" in one.why


def test_a_seed_that_has_just_begun_unsettles_nothing(tmp_path: Path) -> None:
    add_table(tmp_path, "table1", scale="cifar10", seeds=3, noise=0.05)
    before = said_of(tmp_path, "cheaper")
    assert before.verdict == "reproduced"
    begun = {"status": "running", "costs": None, "paper_costs": None, "epochs": None, "started": "2026-02-01T00:00:00"}
    add_run(tmp_path, "table1", "conv_stem_50", scale="cifar10", seed=3, **begun)  # type: ignore[arg-type]
    assert said_of(tmp_path, "cheaper") == before


def test_networks_at_chance_or_at_the_ceiling_decide_nothing(tmp_path: Path) -> None:
    """Simulated as binomial: 1000 images of 8 classes, each a guess, or all but two known."""
    chance, data = random.Random(0), {"config": {"data": {"classes": 8}}}
    for number in range(24):
        level = (0.125, 0.998)[number % 2]
        output = tmp_path / str(number)
        rows = ([100 * sum(chance.random() < level for _ in range(1000)) / 1000 for _ in range(3)] for _ in range(2))
        put_table6(output, *rows, **data)
        verdict = said_of(output, "interaction")
        assert verdict.verdict == "not decidable yet"
        assert "at chance" in verdict.why or "at the ceiling" in verdict.why or "do not differ" in verdict.why


@pytest.mark.parametrize(
    ("position", "both", "verdict"),
    [
        ((12.0, 12.1, 11.9), (12.6, 12.7, 12.5), "not decidable yet"),  # above the margin only since all is so low
        ((10.0, 10.1, 9.9), (50.0, 50.1, 49.9), "not reproduced"),
        ((10.0, 10.1, 9.9), (50.0, 70.0, 30.0), "not decidable yet"),
        ((50.0, 50.1, 49.9), (10.0, 10.1, 9.9), "not decidable yet"),
    ],
)
def test_a_row_at_chance_may_be_refuted_and_confirms_nothing(
    tmp_path: Path, position: tuple[float, ...], both: tuple[float, ...], verdict: str
) -> None:
    put_table6(tmp_path, [*position], [*both], config={"data": {"classes": 10}})
    assert said_of(tmp_path, "interaction").verdict == verdict


@pytest.mark.parametrize(
    ("position", "verdict"), [([40.0, 40.2], "the pipeline works"), ([12.4, 12.6], "not decidable yet")]
)
def test_generated_images_are_no_verdict_on_the_paper(tmp_path: Path, position: list[float], verdict: str) -> None:
    put_table6(tmp_path, position, [99.9, 100.0], scale="demo")
    one = said_of(tmp_path, "interaction", "demo")
    assert one.verdict == verdict
    assert [claim.verdict for claim in one.findings] == ["open"]


def test_effects_stand_beside_the_paper_s(tmp_path: Path) -> None:
    add_table(tmp_path, "table5", scale="cifar10", seeds=3, noise=0.1)
    none, absolute, relative = compare(find_table("table5"), collect(tmp_path).runs, "cifar10").lines
    assert none.effect is None
    for line, published in ((absolute, 0.6), (relative, 2.6)):
        assert line.effect is not None
        own, reference = line.score().mean, none.score().mean
        assert own is not None
        assert reference is not None
        assert (line.effect.over, line.effect.published) == ("none", pytest.approx(published))
        assert line.effect.value == pytest.approx(own - reference)
        assert line.effect.low is not None
        assert line.effect.high is not None
        assert line.effect.low < line.effect.value < line.effect.high
        assert line.score().difference is None
    paper = compare(find_table("table1"), collect(tmp_path).runs, None).lines
    gains = {line.row: line.effect and line.effect.published for line in paper}
    assert gains["baseline_38"] is None
    assert gains["full_38"] == pytest.approx(0.7)


def test_levels_compare_with_the_paper_at_its_own_scale_alone(tmp_path: Path) -> None:
    add_run(tmp_path, "table4", "k3", scale="imagenet", top1=76.9)
    add_run(tmp_path, "table4", "k3", scale="cifar10", top1=76.9)
    runs = collect(tmp_path).runs
    differences = [
        compare(find_table("table4"), runs, scale).lines[0].score().difference for scale in ("imagenet", "cifar10")
    ]
    assert differences == [pytest.approx(0.5), None]


def test_verdicts_on_the_terminal_and_as_json(tmp_path: Path) -> None:
    put_table6(tmp_path, [70.0, 70.2, 70.1], [70.3, 70.1, 70.2])
    words = ["sasa.report", "verdicts", "--output", tmp_path]
    text = module(*words).out
    assert "reproduced         Attention by position alone (q·r) costs little." in text
    assert "confirmed q·r alone loses little to q·k + q·r: -0.10 (95 % interval " in text
    assert "paper draws it" in text
    (setting,) = json.loads(module(*words, "--format", "json").out)
    interaction = next(one for one in setting["statements"] if one["statement"]["name"] == "interaction")
    assert (setting["scale"], interaction["verdict"]) == ("cifar10", "reproduced")
    assert interaction["findings"][0]["low"] < -0.1 < interaction["findings"][0]["high"]
    wrong = module(*words, "--scale", "cifar")
    assert (wrong.code, "Did you mean cifar10" in wrong.err) == (2, True)
