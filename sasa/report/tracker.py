"""What goes to W&B from the records: a run's table as it stands at its end, and `python -m sasa.report wandb`, a report."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from sasa.errors import InputError
from sasa.records.collect import collect
from sasa.records.folder import Record
from sasa.records.result import Run
from sasa.report.groups import settings
from sasa.report.own import add_tables
from sasa.report.paper import MEASURES, TABLES, Table, find_table, published
from sasa.report.tables.compare import compare
from sasa.report.tables.text import escape_markdown, gains, markdown
from sasa.report.verdicts import Verdict, claim_text, judge

PUBLISHED = "published/{split}/{measure}"  # the paper's number in a run's summary
COLUMNS = ("row", "status", "flops_published", "flops", "params_published", "params", "seeds")


class Tracker(Protocol):
    """What takes tables and figures."""

    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None: ...

    def figure(self, name: str, columns: list[str], rows: list[list[Any]], x: str, y: str) -> None: ...

    def summarise(self, values: dict[str, float]) -> None: ...


def send_table(record: Record, tracker: Tracker) -> None:
    """The table, and its first measure against costs."""
    run = record.run
    if run.table is None:
        return
    add_tables(record.output)
    table = find_table(run.table)
    rows = []
    for line in compare(table, collect(record.output).runs, run.scale, run.variant).lines:
        scores = [line.score(measure) for measure in table.measures]
        numbers = [number for score in scores for number in (score.published, score.mean)]
        rows.append([*(getattr(line, name) for name in COLUMNS), *numbers, *gains(line.effect).values()])
    columns = [
        *COLUMNS,
        *(name for measure in table.measures for name in (f"{measure}_published", measure)),
        *gains(None),
    ]
    tracker.table(run.table, columns, rows)
    paper = published(run.table, str(run.row))
    papers = {name: paper.published(name) for name in table.measures} if paper else {}
    tracker.summarise(
        {
            PUBLISHED.format(split=table.split, measure=name): value
            for name, value in papers.items()
            if value is not None
        }
    )
    first = table.measures[0]
    points = [row for row in rows if row[columns.index(first)] is not None]
    for cost in ("flops", "params"):
        tracker.figure(f"{run.table}: {MEASURES[first]} against {cost}", columns, points, cost, first)


TITLE = "Stand-Alone Self-Attention in Vision Models, reproduced"


def report(runs: Iterable[Run], project: str, entity: str, scale: str) -> Any:
    """A report (wandb_workspaces) of the runs at one scale, not saved: building it needs no server."""
    import wandb_workspaces.reports.v2 as wr  # seconds

    runs = list(runs)
    blocks: list[Any] = [
        wr.TableOfContents(),
        wr.H1("What the paper says, and what these runs say"),
        wr.MarkdownBlock("\n".join(map(verdict_text, judge(runs, scale)))),
    ]
    for table in TABLES.values():
        if (scale, "") in settings(runs, table.name):
            blocks += [wr.H1(table.title), wr.MarkdownBlock(without_title(markdown([compare(table, runs, scale)])))]
            if any(run.table == table.name for run in runs):
                blocks.append(grid(wr, scale, table.name, [table]))
    present = {measure for run in runs for measure in run.measured("test")}
    tables = [table for table in TABLES.values() if table.measures[0] in present]
    blocks += [wr.H1("All runs"), grid(wr, scale, None, tables)]
    return wr.Report(
        project=project,
        title=f"{TITLE} ({scale})",
        description="Made by python -m sasa.report wandb from the record files.",
        blocks=blocks,
        width="fluid",
        entity=entity,
    )


def grid(wr: Any, scale: str, name: str | None, tables: Iterable[Table]) -> Any:
    """Curves, results against costs, and pictures of the runs of one table, or of all; the legends have the paper's results."""
    chosen = f"Tags('tags') in ['{scale}']" + (f" and Metric('group') == '{name}'" if name else "")
    runset = wr.Runset(name=name or "all runs", filters=chosen)  # of the report's own project
    results = dict.fromkeys((table.split, table.measures[0]) for table in tables)
    fields = " ".join(f"${{summary:{PUBLISHED.format(split=split, measure=measure)}}}" for split, measure in results)
    legend = f"${{run:displayName}}, paper: {fields}"
    measures = {measure: MEASURES[measure] for _, measure in results}
    scatter = [
        wr.ScatterPlot(
            title=f"test {text} against {cost}",
            x=wr.SummaryMetric(cost),
            y=wr.SummaryMetric(f"test/{measure}"),
            legend_template=legend,
        )
        for measure, text in measures.items()
        for cost in ("flops", "params")
    ]
    metrics = {f"validation {text}": f"validation/{measure}" for measure, text in measures.items()}
    curves = [
        wr.LinePlot(title=title, x="epoch", y=[metric], legend_template=legend)
        for title, metric in (metrics | {"training loss": "train/loss"}).items()
    ]
    media = [wr.MediaBrowser(title=title, media_keys=[key]) for title, key in PICTURES.items()] if name else []
    return wr.PanelGrid(runsets=[runset], panels=[*curves, *scatter, *media])


PICTURES = {"test images and predictions": "samples", "what each head looks at": "attention"}


def verdict_text(one: Verdict) -> str:
    """A statement, its verdict and its claims as Markdown."""
    claims = "".join(f"\n  - {escape_markdown(claim_text(finding))}" for finding in one.findings)
    return f"- **{escape_markdown(one.statement.text)}** {one.verdict}{claims}"


def without_title(text: str) -> str:
    return text.partition("\n")[2].lstrip()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m sasa.report wandb", description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", type=Path, default=Path("outputs"), metavar="DIR", help="where the runs are")
    project = os.environ.get("WANDB_PROJECT") or "sasa"
    parser.add_argument(
        "--project", default=project, help="the W&B project of the runs (default: WANDB_PROJECT, or sasa)"
    )
    parser.add_argument("--entity", default=os.environ.get("WANDB_ENTITY", ""), help="default: the one of your login")
    parser.add_argument("--scale", default="demo", help="the scale of the tables (default: demo)")
    options = parser.parse_args(arguments)
    import wandb  # half a second, which --help need not wait for

    if not wandb.login(prompt=False):
        raise InputError("not logged in to W&B: run `wandb login` once, or set WANDB_API_KEY, and ask again")
    add_tables(options.output)
    entity = options.entity or wandb.Api().default_entity or ""
    made = report(collect(options.output).runs, options.project, entity, options.scale)
    made.save()
    print(made.url)
