"""`python -m sasa.report results`: what the runs at one scale say, as a document: docs/results.md is made by it."""

import argparse
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sasa.errors import InputError, unknown
from sasa.records.archive import once
from sasa.records.collect import collect
from sasa.records.result import Run
from sasa.report.groups import Group, gather
from sasa.report.paper import MEASURES, TABLES
from sasa.report.tables.compare import Comparison, Line, compare
from sasa.report.tables.layout import fixed, signed
from sasa.report.tables.terminal import duration
from sasa.report.tables.text import escape_markdown
from sasa.report.verdicts import METHOD, NOT_REPRODUCED, OPEN, WORKS, Verdict, claim_text, judge


def document(runs: Sequence[Run], scale: str, variant: str, made_by: str, notes: str = "") -> str:
    """The whole text, in Markdown, of the runs at one scale and variant; the notes, by a person, follow the conditions."""
    here = [run for run in runs if (run.scale, run.variant) == (scale, variant)]
    verdicts = judge(here, scale, variant)
    parts = [
        f"# Results at scale {escape_markdown(scale + (f', with {variant}' if variant else ''))}",
        f"Made by `{made_by}` from the records of the runs"
        + ("; its notes alone were written by hand." if notes else "; no number in it was typed."),
        conditions(here),
        *([f"## Notes\n\n{notes.strip()}"] if notes else []),
        "## What the paper says, and what these runs say",
        markdown_rows(("statement", "shown by", "verdict"), (summary(one) for one in verdicts)),
        *differing(verdicts),
        *undecided(verdicts, here),
        *(part for table in TABLES.values() for part in section(compare(table, here, scale, variant), verdicts)),
        f"## How a verdict is reached\n\n{escape_markdown(METHOD)}",
    ]
    return "\n\n".join(parts) + "\n"


def conditions(runs: Sequence[Run]) -> str:
    """How many runs there are, how long they took, and on what."""
    trained = once(runs)
    hours = sum(run.seconds or 0 for run in trained) / 3600
    said = {
        "data": {run.data for run in trained},
        "epochs": {str(run.epochs) for run in trained},
        "device": {run.device for run in trained},
        "versions": {", ".join(f"{name} {number}" for name, number in run.versions.items()) for run in trained},
        "commit (+: with changes)": {run.commit for run in trained if run.commit},
    }
    facts = [f"- {name}: {escape_markdown('; '.join(sorted(values)))}" for name, values in said.items() if values]
    return "\n".join([f"- {len(trained)} runs, {hours:.1f} hours of training in all", *facts])


def summary(one: Verdict) -> tuple[str, ...]:
    return one.statement.text, TABLES[one.statement.table].title.partition(":")[0], f"**{one.verdict}**"


def differing(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """The claims that came out otherwise than in the paper."""
    refuted = [
        claim
        for one in verdicts
        if one.verdict == NOT_REPRODUCED
        for claim in one.findings
        if claim.verdict == "refuted"
    ]
    if refuted:
        yield "## Otherwise than in the paper"
        yield "\n".join(f"- {escape_markdown(claim_text(claim))}" for claim in refuted)


def undecided(verdicts: Iterable[Verdict], runs: Sequence[Run]) -> Iterator[str]:
    """What is open, why, and how much longer it takes at this scale to decide it, four times of five."""
    lines = []
    for one in verdicts:
        if one.verdict == OPEN:
            groups = gather(runs, one.statement.table, runs[0].scale, runs[0].variant)
            cost = further_seconds(one, groups)
            price = f" About {duration(cost)} more of training would {one.promise}." if cost else ""
            reasons = [f"{finding.claim.text}: {finding.why}" for finding in one.findings if finding.why]
            lines += [
                f"- **{escape_markdown(one.statement.text)}**{price}",
                *(f"  - {escape_markdown(why)}" for why in reasons),
            ]
    if lines:
        yield "## Not decided at this scale, and what it would take"
        yield "\n".join(lines)


def further_seconds(one: Verdict, groups: dict[str, Group]) -> float | None:
    """How long the seeds take that a statement needs; None where a row's time is not known."""
    total = 0.0
    for row, seeds in one.needed.items():
        finished = groups[row].finished if row in groups else ()
        times = [run.seconds for run in finished if run.seconds]
        if not times:
            return None
        total += max(0, seeds - len(finished)) * sum(times) / len(times)
    return total


def section(comparison: Comparison, verdicts: Iterable[Verdict]) -> Iterator[str]:
    """One table: its statements with their claims, its rows, and what they were measured on."""
    table = comparison.table
    if not any(line.status == "finished" for line in comparison.lines):
        return
    yield f"## {escape_markdown(table.title)}"
    for one in verdicts:
        if one.statement.table == table.name:
            signs = ["" if one.verdict == WORKS else f"{finding.verdict}: " for finding in one.findings]
            claims = [
                f"- {sign}{escape_markdown(claim_text(claim))}" for sign, claim in zip(signs, one.findings, strict=True)
            ]
            yield "\n".join([f"**{escape_markdown(one.statement.text)}** {one.verdict}.", "", *claims])
    measure = MEASURES[table.measures[0]]
    over = f"over {table.over}"
    headers = (
        *table.columns,
        f"paper's {measure}",
        f"our {measure}",
        f"paper's gain {over}",
        "our gain",
        "95 %",
        "seeds",
        "a run",
    )
    yield markdown_rows(headers, (row(line, comparison) for line in comparison.lines), len(table.columns))
    yield escape_markdown(comparison.caption)


def row(line: Line, comparison: Comparison) -> tuple[str, ...]:
    score, effect = line.score(comparison.table.measures[0]), line.effect
    spread = "" if score.deviation is None else f" ± {score.deviation:.2f}"
    own = "" if score.mean is None else f"{score.mean:.2f}{spread}"
    gains = ("-", "-", "")
    if effect:
        interval = "" if effect.low is None else f"[{signed(effect.low, 2)}, {signed(effect.high, 2)}]"
        gains = (signed(effect.published, 1), signed(effect.value, 2), interval)
    times = [run.seconds for run in line.runs if run.status == "finished" and run.seconds]
    mean = duration(sum(times) / len(times)) if times else ""
    return (*line.cells, fixed(score.published, 1), own or line.status, *gains, str(line.seeds or ""), mean)


def markdown_rows(headers: Sequence[str], rows: Iterable[Sequence[str]], labels: int = 9) -> str:
    """A table whose first columns are labels, aligned on the left."""
    rules = ["---" if index < labels else "---:" for index in range(len(headers))]
    escaped = ([cell if cell.startswith("**") else escape_markdown(cell) for cell in one] for one in (headers, *rows))
    lines = [f"| {' | '.join(cells)} |" for cells in escaped]
    return "\n".join([lines[0], f"| {' | '.join(rules)} |", *lines[1:]])


def setting(known: Sequence[tuple[str, str]], scale: str | None, variant: str | None) -> tuple[str, str]:
    """The scale and variant that are asked for. InputError where there is no such one, or several."""
    scales, variants = (list(dict.fromkeys(names)) for names in zip(*known, strict=True))
    if scale is not None and scale not in scales:
        raise unknown("scale", scale, scales)
    if variant is not None and variant not in variants:
        raise unknown("variant", variant, variants)
    fitting = [one for one in known if scale in (None, one[0]) and variant in (None, one[1])]
    if len(fitting) != 1:
        listed = ", ".join(f"--scale {one} --variant {shlex.quote(other)}" for one, other in fitting or known)
        raise InputError(f"give the runs' scale and variant, one of: {listed}")
    return fitting[0]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m sasa.report results", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--scale", help="the scale of the runs (default: the only one that has any)")
    add("--variant", help="the overrides of the runs, '' for none (default: the only ones that there are)")
    add(
        "--output", type=Path, default=Path("outputs"), metavar="DIR", help="where the runs are: a folder or an archive"
    )
    add(
        "--notes", type=Path, metavar="FILE", help="Markdown to put below the conditions, such as what was tried before"
    )
    add("--to", type=Path, metavar="FILE", help="write to this file instead of the terminal")
    options = parser.parse_args(arguments)
    runs = collect(options.output).runs
    known = sorted({(run.scale, run.variant) for run in runs if run.status == "finished"})
    if not known:
        raise InputError(f"there is no finished run in {options.output} yet")
    scale, variant = setting(known, options.scale, options.variant)
    words = ["results", "--scale", scale, *(["--variant", variant] if variant else []), "--output", str(options.output)]
    words += ["--notes", str(options.notes)] if options.notes else []
    try:
        notes = options.notes.read_text(encoding="utf-8") if options.notes else ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--notes {options.notes} cannot be read as text: {error}") from error
    text = document(runs, scale, variant, f"python -m sasa.report {shlex.join(words)}", notes)
    if options.to is None:
        print(text, end="")
        return
    try:
        options.to.parent.mkdir(parents=True, exist_ok=True)
        options.to.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write to {options.to}: {error.strerror}") from error
    print(f"wrote {options.to}")
