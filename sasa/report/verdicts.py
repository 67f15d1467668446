"""The paper's statements, and what our runs say of each: reproduced, not reproduced, or not decidable yet.

A statement holds claims of the form "the mean result of these rows (top-1, or AP) less that of those is above a margin".
Runs of one scale and variant decide a claim by a confidence interval of that difference: Student's t, with the standard
deviation over seeds pooled over the rows of the table that have several. The intervals of a statement's claims hold together
at 95 % (Bonferroni). A claim is confirmed if its interval lies above the margin, refuted if it lies below, else open.
"""

import argparse
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from sasa.errors import unknown
from sasa.records.collect import collect
from sasa.records.result import Run
from sasa.report.names import clean
from sasa.report.paper import TABLES, Table
from sasa.report.tables.compare import Group, gather

CONFIDENCE = 0.95
STYLES = {"reproduced": "green", "not reproduced": "bold red", "not decidable yet": "yellow"}
LITTLE = 1.0  # points of top-1: "little", "flat" and "matches" mean a loss of less than this
LEAST_SEEDS = 2  # a single seed says nothing about chance
SURE = 4  # standard errors, or images, that a row lies above chance and below the ceiling
POWER = 0.8416  # the normal quantile of 80 %: how often as many seeds as are advised decide


@dataclass(frozen=True)
class Claim:
    """mean result (top-1, or AP) of rows `above` - mean of rows `below` > margin, in words `text`."""

    text: str
    above: tuple[str, ...]
    below: tuple[str, ...]
    margin: float = 0.0
    cheaper: bool = (
        False  # and each of `above` has fewer FLOPs and parameters, at the paper's size, than its counterpart
    )


@dataclass(frozen=True)
class Statement:
    """A statement of the paper and the table that shows it."""

    name: str
    text: str
    table: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Finding:
    """What the runs say of a claim. verdict: confirmed, refuted or open; low and high bound the difference."""

    claim: Claim
    verdict: str
    published: float
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: tuple[int, int] = (0, 0)  # the fewest of any row, on either side
    why: str = ""
    costs: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the runs say of a statement. verdict: reproduced, not reproduced or not decidable yet."""

    statement: Statement
    verdict: str
    why: str
    findings: tuple[Finding, ...]


EARLY, LATE = ("conv1", "conv12", "conv123"), ("attention1", "attention12", "attention123")

STATEMENTS = (
    Statement(
        "early",
        "Convolutions early and attention late is best.",
        "table3",
        (
            Claim("convolution early over attention early", EARLY, LATE),
            Claim("convolution in groups 1 or 1, 2 over attention alone", ("conv1", "conv12"), ("attention",)),
            Claim("convolution in groups 1 or 1, 2 over convolution alone", ("conv1", "conv12"), ("conv",)),
        ),
    ),
    Statement(
        "extent",
        "A spatial extent of k = 3 is poor, and from k = 7 accuracy flattens.",
        "table4",
        (
            Claim("k = 7, 9, 11 over k = 3", ("k7", "k9", "k11"), ("k3",)),
            Claim("k = 7 loses little to k = 9", ("k7",), ("k9",), -LITTLE),
            Claim("k = 7 loses little to k = 11", ("k7",), ("k11",), -LITTLE),
        ),
    ),
    Statement(
        "position",
        "Relative positions are far better than absolute ones, which are better than none.",
        "table5",
        (
            Claim("relative over absolute by more than 1 point", ("relative",), ("absolute",), LITTLE),
            Claim("absolute over none", ("absolute",), ("none",)),
        ),
    ),
    Statement(
        "interaction",
        "Attention by position alone (q·r) costs little.",
        "table6",
        (Claim("q·r alone loses little to q·k + q·r", ("position",), ("content_position",), -LITTLE),),
    ),
    Statement(
        "stem",
        "The spatially-aware attention stem beats the plain one.",
        "table7",
        (Claim("spatially-aware values over stand-alone", ("attention_spatial_values",), ("attention",)),),
    ),
    Statement(
        "cheaper",
        "Attention matches convolution with fewer FLOPs and parameters.",
        "table1",
        tuple(
            Claim(
                f"ResNet-{depth}: attention loses little",
                (f"conv_stem_{depth}",),
                (f"baseline_{depth}",),
                -LITTLE,
                True,
            )
            for depth in (26, 38, 50)
        ),
    ),
    Statement(
        "detection",
        "Attention in backbone, FPN and heads detects as well as convolution, with fewer FLOPs and parameters.",
        "table2",
        tuple(
            Claim(f"{text}: attention loses little", (row,), ("conv_baseline",), -LITTLE, True)
            for text, row in (
                ("in the backbone", "conv_full"),
                ("in FPN and heads, too, with a convolution stem", "attention_conv_stem"),
                ("everywhere", "attention_full"),
            )
        ),
    ),
)


def judge(runs: Iterable[Run], scale: str, variant: str = "") -> list[Verdict]:
    """All statements, judged by the runs of one scale and variant."""
    runs = list(runs)
    return [
        verdict(statement, TABLES[statement.table], gather(runs, statement.table, scale, variant))
        for statement in STATEMENTS
    ]


def verdict(statement: Statement, table: Table, groups: dict[str, Group]) -> Verdict:
    """One statement, given the runs of its table by row."""
    findings = tuple(finding(claim, table, groups, len(statement.claims)) for claim in statement.claims)
    refuted = [finding for finding in findings if finding.verdict == "refuted"]
    unsettled = [finding for finding in findings if finding.verdict == "open"]
    if refuted:
        return Verdict(statement, "not reproduced", refuted[0].why or f"refuted: {refuted[0].claim.text}", findings)
    if unsettled:
        return Verdict(statement, "not decidable yet", unsettled[0].why, findings)
    return Verdict(statement, "reproduced", "", findings)


def finding(claim: Claim, table: Table, groups: dict[str, Group], claims: int) -> Finding:
    """One of `claims` claims of a statement."""
    measure = table.measures[0]
    published = {row.name: row.published(measure) for row in table.rows}
    paper, _ = contrast(*([[one] for name in side if (one := published[name]) is not None] for side in sides(claim)))
    values = {name: results(group, table.split, measure) for name, group in groups.items()}
    lacking = [name for side in sides(claim) for name in side if not values.get(name)]
    if lacking:
        return Finding(claim, "open", paper, why="no finished run of " + ", ".join(lacking))
    above, below = ([values[name] for name in side] for side in sides(claim))
    seeds = (min(map(len, above)), min(map(len, below)))
    difference, errors = contrast(above, below)
    costs, changes = saved(claim, groups) if claim.cheaper else ("", [])
    spread = pooled(values.values())
    known = Finding(claim, "open", paper, difference, seeds=seeds, costs=costs)
    silent = [name for side in sides(claim) for name in side if not tells(groups[name], values[name], table.split)]
    if silent:
        return replace(known, why=f"at chance or at the ceiling, where nothing can be compared: {', '.join(silent)}")
    if any(change >= 0 for change in changes):
        return replace(known, verdict="refuted", why=f"not cheaper: {costs}")
    if claim.cheaper and len(changes) < 2:
        return replace(known, why="its costs are not recorded")
    settings = {
        (run.data, run.epochs, run.semantics) for side in sides(claim) for name in side for run in groups[name].finished
    }
    if len(settings) > 1:
        return replace(known, why="its rows differ in data, epochs or the version of sasa")
    if min(seeds) < LEAST_SEEDS or spread is None:
        return replace(known, why=f"needs {LEAST_SEEDS} seeds a row or more: one says nothing about chance")
    if spread.deviation == 0:
        return replace(known, why="its seeds do not differ at all")
    t = quantile(1 - (1 - CONFIDENCE) / claims / 2, spread.freedom)
    half = t * spread.deviation * errors
    low, high = difference - half, difference + half
    settled = replace(known, low=low, high=high)
    if low > claim.margin:
        return replace(settled, verdict="confirmed")
    if high < claim.margin:
        return replace(settled, verdict="refuted")
    needed = seeds_for(difference - claim.margin, half, t, min(seeds))
    advice = f"{needed} seeds a row would decide, four times of five" if needed else "too close to call"
    return replace(settled, why=f"the interval reaches both sides of {claim.margin:+.0f}: {advice}".replace("+0", "0"))


def seeds_for(distance: float, half: float, t: float, seeds: int) -> int | None:
    """Seeds a row that decide with 80 % power, if distance and spread stay as they are; None where no number would do.

    `half` is t standard errors of the difference, over `seeds` seeds.
    """
    if abs(distance) < half / 20:
        return None
    return max(seeds + 1, math.ceil(seeds * ((t + POWER) * half / t / distance) ** 2))


def tells(group: Group, values: Sequence[float], split: str) -> bool:
    """Whether a row has learnt, and not all there is: SURE standard errors above chance, and SURE images wrong a seed."""
    run = group.finished[0]
    images = run.images.get(split, 1000)
    chance = 0.0 if "ap" in run.measured(split) else 1 / run.config.get("data", {}).get("classes", 1000)
    mean = statistics.fmean(values) / 100
    error = math.sqrt(chance * (1 - chance) / images / len(values))
    return mean > chance + SURE * error and (1 - mean) * images > SURE


def saved(claim: Claim, groups: dict[str, Group]) -> tuple[str, list[float]]:
    """What the one row's FLOPs and parameters are against the other's, in words and in percent more."""
    one, other = (groups[side[0]] for side in sides(claim))
    pairs = (
        ("FLOPs", one.latest("paper_flops"), other.latest("paper_flops")),
        ("parameters", one.latest("paper_params"), other.latest("paper_params")),
    )
    known = [(name, 100 * (ours / theirs - 1)) for name, ours, theirs in pairs if ours and theirs]
    return ", ".join(f"{name} {change:+.0f} %" for name, change in known), [change for _, change in known]


def results(group: Group, split: str, measure: str) -> list[float]:
    """The measure of each finished seed."""
    return [measures[measure] for run in group.finished if measure in (measures := run.measured(split))]


def sides(claim: Claim) -> Sequence[tuple[str, ...]]:
    return claim.above, claim.below


@dataclass(frozen=True)
class Spread:
    """The standard deviation over seeds, pooled over rows, with its degrees of freedom."""

    deviation: float
    freedom: int


def pooled(samples: Iterable[Sequence[float]]) -> Spread | None:
    """The spread within samples of two values and more, taken to be equal in all; None if there is no such sample."""
    repeated = [values for values in samples if len(values) > 1]
    freedom = sum(len(values) - 1 for values in repeated)
    if not freedom:
        return None
    squares = sum(statistics.variance(values) * (len(values) - 1) for values in repeated)
    return Spread(math.sqrt(squares / freedom), freedom)


def contrast(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Mean of the means of samples `a` less that of `b`, and what its error is in standard deviations of a value."""
    difference = statistics.fmean(map(statistics.fmean, a)) - statistics.fmean(map(statistics.fmean, b))
    variance = sum(sum(1 / len(values) for values in side) / len(side) ** 2 for side in (a, b))
    return difference, math.sqrt(variance)


def quantile(probability: float, freedom: int) -> float:
    """Student's t that `probability` of the distribution lies below, 0.5 <= probability < 1."""
    low, high = 0.0, 1.0
    while below(high, freedom) < probability:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def below(t: float, freedom: int) -> float:
    """P(T <= t) of Student's t with a whole number of degrees of freedom, t >= 0 (Abramowitz and Stegun 26.7.3, 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    term = total = cosine if freedom % 2 else 1.0
    for n in range(3 if freedom % 2 else 2, freedom, 2):
        term *= cosine**2 * (n - 1) / n
        total += term
    if not freedom % 2:
        return 0.5 + sine * total / 2
    return 0.5 + (angle + (sine * total if freedom > 1 else 0)) / math.pi


def claim_text(finding: Finding) -> str:
    """A claim as one line: the difference, its interval, the seeds, the paper's difference, and why it is open."""
    own = "no difference yet" if finding.difference is None else f"{finding.difference:+.2f}"
    if finding.low is not None:
        own += f" (interval {finding.low:+.2f} to {finding.high:+.2f})"
    seeds = f", {min(finding.seeds)} seeds" if finding.difference is not None else ""
    return f"{finding.claim.text}: {own}{seeds}; paper {finding.published:+.1f}" + (
        f"; {finding.why}" if finding.why else ""
    )


def print_verdicts(runs: Sequence[Run], scale: str, variant: str, console: Console) -> None:
    """The statements of one scale and variant with their verdicts and claims."""
    console.print(
        Text(f"\nThe paper's statements at scale {scale}{f', with {clean(variant)}' if variant else ''}", "bold")
    )
    for one in judge(runs, scale, variant):
        console.print(Text.assemble((f"{one.verdict:18}", STYLES[one.verdict]), one.statement.text), soft_wrap=True)
        for finding in one.findings:
            console.print(Text(f"  {finding.verdict:9} {claim_text(finding)}", "dim"), soft_wrap=True)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m sasa.report verdicts", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("outputs"), metavar="DIR", help="where the runs are")
    parser.add_argument("--scale", help="only this scale (default: each that has runs)")
    parser.add_argument("--format", default="rich", choices=("rich", "json"), help="default: rich")
    options = parser.parse_args(arguments)
    runs = collect(options.output).runs
    known = sorted({(run.scale, run.variant) for run in runs if run.began})
    if options.scale is not None and options.scale not in {scale for scale, _ in known}:
        raise unknown("scale", options.scale, {scale for scale, _ in known})
    chosen = [setting for setting in known if options.scale in (None, setting[0])]
    if options.format == "json":
        judged = [
            {"scale": s, "variant": v, "statements": [asdict(one) for one in judge(runs, s, v)]} for s, v in chosen
        ]
        print(json.dumps(judged, indent=2))
        return
    for setting in chosen:
        print_verdicts(runs, *setting, Console(highlight=False))
