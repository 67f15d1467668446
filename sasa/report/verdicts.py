"""The paper's statements (statements.py), and what our runs say of each: reproduced, not reproduced, or not decidable yet.

Runs of one scale and variant decide a claim by the interval of its difference (intervals.py). It is confirmed if the
interval at 95 % lies above the margin. It is refuted if the wider interval lies below that would hold for all the claims
of its statement together (Bonferroni), since one refuted claim is enough against a statement, and all must be confirmed for it.
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
from sasa.records.collect import collect_with_shipped
from sasa.records.result import Run
from sasa.report.groups import Group, gather
from sasa.report.intervals import CONFIDENCE, MOST_SEEDS, contrast, seeds_for
from sasa.report.maps import too_small
from sasa.report.names import clean
from sasa.report.paper import TABLES, Table
from sasa.report.statements import STATEMENTS, Claim, Statement

REPRODUCED, NOT_REPRODUCED, OPEN, WORKS = "reproduced", "not reproduced", "not decidable yet", "the pipeline works"
STYLES = {REPRODUCED: "green", NOT_REPRODUCED: "bold red", OPEN: "yellow", WORKS: "cyan"}
SURE = 4  # standard errors, or images, that a row lies above chance and below the ceiling
METHOD = (
    "A statement is made of claims: the mean result of some rows, less that of others, lies above a margin (0, or −1 "
    "point where the paper says “little” or “matches”, or +1 where it says “far better”). The interval is Welch's: "
    "Student's t over seeds, for rows that spread unequally, not paired by seed. A claim is confirmed when its 95 % "
    "interval lies above the margin, and refuted when its interval lies below it at the confidence that holds 95 % "
    "over all claims of the statement (Bonferroni). A statement is reproduced when all its claims are confirmed, and "
    "not reproduced when one is refuted. Where rows of few seeds spread very unequally, such an interval holds the "
    "true difference in 89 to 99 % of cases. A number of seeds should be chosen beforehand: who looks after each seed "
    "from the third to the twelfth, as make results does, and stops when a claim is decided, decides a difference that "
    "is exactly the margin on one given side in 7 to 10 % of cases, not 2.5. The seeds vary the training, on the same images: "
    "other images could decide otherwise. At another scale than the paper's a verdict speaks of that scale alone, and "
    "generated images say that the pipeline works, nothing of the paper."
)


@dataclass(frozen=True)
class Finding:
    """What the runs say of a claim. verdict: confirmed, refuted or open; low and high bound the difference at 95 %.

    published: the paper's own difference, None where it prints none. seeds: the fewest of any row; needed: how many seeds a
    row would decide an open claim, four times of five, if difference and spread stay as they are; 2 where a row has fewer.
    """

    claim: Claim
    verdict: str
    published: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int = 0
    needed: int | None = None
    why: str = ""
    costs: str = ""

    @property
    def below(self) -> bool:
        """Whether the difference lies below the margin, so that more seeds may refute the claim."""
        return self.difference is not None and self.difference < self.claim.margin


@dataclass(frozen=True)
class Verdict:
    """What the runs say of a statement. verdict: a key of STYLES; on generated images never more than that all works."""

    statement: Statement
    verdict: str
    why: str
    findings: tuple[Finding, ...]

    def unsettled(self, most: int = MOST_SEEDS) -> list[Finding]:
        """The open claims that would settle the statement with so many seeds a row: all of them.

        Where one of them cannot be decided, those that may be refuted: one is enough. None of a statement that is decided, or
        cannot be.
        """
        left = [finding for finding in self.findings if finding.verdict == "open"] if self.verdict == OPEN else []
        within = [finding for finding in left if finding.needed and finding.needed <= most]
        return within if len(within) == len(left) else [finding for finding in within if finding.below]

    def needed_within(self, most: int) -> dict[str, int]:
        """Seeds that would settle the statement, by row of its table: all of a row's seeds, not the further ones."""
        seeds: dict[str, int] = {}
        for finding in self.unsettled(most):
            for row in finding.claim.rows:
                seeds[row] = max(seeds.get(row, 0), finding.needed or 0)
        return seeds

    @property
    def needed(self) -> dict[str, int]:
        """The same with as many seeds as are ever advised."""
        return self.needed_within(MOST_SEEDS)

    @property
    def promise(self) -> str:
        """What these seeds would do: where a row has fewer than two, nothing is known of its spread."""
        measured = {finding.low is not None for finding in self.unsettled()}
        if measured == {True}:
            return "decide it, four times of five"
        return "give its rows two seeds" if measured == {False} else "give its rows two seeds, and decide the rest"


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
    unsettled = [finding for finding in findings if finding.why]
    if refuted:
        return Verdict(statement, NOT_REPRODUCED, refuted[0].why or f"refuted: {refuted[0].claim.text}", findings)
    if unsettled:
        return Verdict(statement, OPEN, unsettled[0].why, findings)
    if "open" in {finding.verdict for finding in findings}:
        return Verdict(statement, WORKS, "every row learnt; generated images say nothing of the paper", findings)
    return Verdict(statement, REPRODUCED, "", findings)


def finding(claim: Claim, table: Table, groups: dict[str, Group], claims: int) -> Finding:
    """One of `claims` claims of a statement. An open one has its reason, but on generated images, where none is decided."""
    measure = table.measures[0]
    found = Finding(claim, "open", published(claim, table))
    values = {row: groups[row].values(table.split, measure) if row in groups else [] for row in claim.rows}
    lacking = [row for row, results in values.items() if not results]
    if lacking:
        return replace(found, why="no finished run of " + ", ".join(lacking), needed=2)
    measured = contrast([(weight, values[row]) for row, weight in claim.weights])
    low, high = measured.interval() or (None, None)
    costs, dearer = saved(claim, groups)
    found = replace(found, difference=measured.value, low=low, high=high, seeds=measured.seeds, costs=costs)
    members = {row: groups[row] for row in claim.rows}
    if not all(known(group.finished[0], table.split) for group in members.values()):
        return replace(found, why="its number of images or classes is not recorded")
    at_chance = [row for row, group in members.items() if not learnt(group, values[row], table.split)]
    generated = any(run.generated for group in members.values() for run in group.finished)
    lower = {row for row, weight in claim.weights if weight < 0}
    refutes = found.below and lower.isdisjoint(at_chance)  # rows that have learnt are better than those at chance
    if at_chance and (generated or not refutes):
        return replace(found, why=f"at chance, where nothing can be compared: {', '.join(at_chance)}")
    if generated:
        return found
    at_ceiling = [row for row, group in members.items() if not improvable(group, values[row], table.split)]
    if at_ceiling:
        return replace(found, why=f"at the ceiling, where nothing can be compared: {', '.join(at_ceiling)}")
    if dearer:
        return replace(found, verdict="refuted", why=f"not cheaper: {costs}")
    if claim.cheaper and not costs:
        return replace(found, why="its costs are not recorded")
    if len(set.union(*(group.conditions for group in members.values()))) > 1:
        return replace(found, why="its rows differ in data, epochs or the version of sasa")
    if claim.extents and (why := too_small([run for group in members.values() for run in group.runs], *claim.extents)):
        return replace(found, why=why)
    if measured.seeds < 2:
        return replace(found, needed=2, why="needs 2 seeds a row or more: one says nothing about chance")
    if low is None or high is None:
        return replace(found, why="its seeds do not differ at all")
    if low > claim.margin:
        return replace(found, verdict="confirmed")
    confidence = CONFIDENCE if measured.value > claim.margin else 1 - (1 - CONFIDENCE) / claims
    if (measured.interval(confidence) or (low, high))[1] < claim.margin:
        return replace(found, verdict="refuted")
    needed = seeds_for(measured.value - claim.margin, measured, confidence)
    advice = f"{needed} seeds a row would decide, four times of five" if needed else "too close to call"
    sides = f"the interval reaches both sides of {claim.margin:+.0f}".replace("+0", "0")
    if high < claim.margin:
        sides = f"below the margin alone, not among {claims} claims"
    return replace(found, needed=needed, why=f"{sides}: {advice}")


def published(claim: Claim, table: Table) -> float | None:
    """The paper's own difference; None unless it prints the result of every row."""
    results = {row.name: row.published(table.measures[0]) for row in table.rows}
    parts = [weight * result for row, weight in claim.weights if (result := results[row]) is not None]
    return sum(parts) if len(parts) == len(claim.weights) else None


def known(run: Run, split: str) -> bool:
    """Whether it is recorded on how many images of how many classes a run was measured."""
    return bool(run.images.get(split)) and "classes" in (run.config.get("data") or {})


def learnt(group: Group, values: Sequence[float], split: str) -> bool:
    """Whether a row lies SURE standard errors above chance."""
    run = group.finished[0]
    chance = 0.0 if "ap" in run.measured(split) else 1 / run.config["data"]["classes"]
    error = math.sqrt(chance * (1 - chance) / run.images[split] / len(values))
    return statistics.fmean(values) / 100 > chance + SURE * error


def improvable(group: Group, values: Sequence[float], split: str) -> bool:
    """Whether a row has more than SURE images wrong a seed."""
    return (1 - statistics.fmean(values) / 100) * group.finished[0].images[split] > SURE


def saved(claim: Claim, groups: dict[str, Group]) -> tuple[str, bool]:
    """The claim's costs against its counterparts', in words, and whether one of them is not less."""
    fields = {"FLOPs": "paper_flops", "parameters": "paper_params"}
    texts, dearer = [], False
    for cost in claim.costs:
        pairs = [tuple(groups[row].latest(fields[cost]) for row in pair) for pair in claim.cheaper]
        changes = sorted(100 * (ours / theirs - 1) for ours, theirs in pairs if ours and theirs)
        if len(changes) < len(pairs):
            return "", False
        texts.append(
            f"{cost} " + " to ".join(dict.fromkeys(f"{change:+.0f} %" for change in changes[:: len(changes) - 1 or 1]))
        )
        dearer |= changes[-1] >= 0
    return ", ".join(texts), dearer


def claim_text(finding: Finding) -> str:
    """A claim as one line: the difference, its interval, the seeds, the paper's difference, and why it is open."""
    own = "no difference yet" if finding.difference is None else f"{finding.difference:+.2f}"
    if finding.low is not None:
        own += f" (95 % interval {finding.low:+.2f} to {finding.high:+.2f})"
    if finding.difference is not None:
        own += f", {finding.seeds} seed{'' if finding.seeds == 1 else 's'}"
    paper = "draws it" if finding.published is None else f"{finding.published:+.1f}"
    return "; ".join(filter(None, (f"{finding.claim.text}: {own}; paper {paper}", finding.costs, finding.why)))


def print_verdicts(runs: Sequence[Run], scale: str, variant: str, console: Console) -> None:
    """The statements of one scale and variant with their verdicts and claims."""
    console.print(
        Text(f"\nThe paper's statements at scale {scale}{f', with {clean(variant)}' if variant else ''}", "bold")
    )
    for one in judge(runs, scale, variant):
        console.print(Text.assemble((f"{one.verdict:19}", STYLES[one.verdict]), one.statement.text), soft_wrap=True)
        for finding in one.findings:
            sign = "" if one.verdict == WORKS else finding.verdict
            console.print(Text(f"  {sign:9} {claim_text(finding)}", "dim"), soft_wrap=True)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m sasa.report verdicts", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("outputs"), metavar="DIR", help="where the runs are")
    parser.add_argument("--scale", help="only this scale (default: each that has runs)")
    parser.add_argument("--format", default="rich", choices=("rich", "json"), help="default: rich")
    options = parser.parse_args(arguments)
    runs = collect_with_shipped(options.output).runs
    known = sorted({(run.scale, run.variant) for run in runs if run.began})
    if options.scale is not None and options.scale not in {scale for scale, _ in known}:
        raise unknown("scale", options.scale, {scale for scale, _ in known})
    chosen = [(scale, variant) for scale, variant in known if options.scale in (None, scale)]
    if options.format == "json":
        judged = [
            {"scale": s, "variant": v, "statements": [asdict(one) for one in judge(runs, s, v)]} for s, v in chosen
        ]
        print(json.dumps(judged, indent=2))
        return
    console = Console(highlight=False)
    for setting in chosen:
        print_verdicts(runs, *setting, console)
    if chosen:
        console.print(Text(f"\n{METHOD}", "dim"))
