"""The dashboard's pages, rendered from the record files of an output folder. Nothing in a page is fetched from elsewhere."""

import json
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from sasa.config import PROGRAM, shortcut
from sasa.errors import InputError
from sasa.records.collect import SHIPPED, collect_with_shipped, shipped
from sasa.records.progress import progress
from sasa.records.result import Run
from sasa.report import status
from sasa.report.groups import settings
from sasa.report.own import add_tables
from sasa.report.pages import views
from sasa.report.pages.figures import all_runs, figures, learning, name_of, row_of, run_curves, title_of
from sasa.report.pages.files import Curves, Details, details, flat, read_curves, read_notes, run_id
from sasa.report.paper import MEASURES, TABLES
from sasa.report.tables.compare import compare
from sasa.report.tables.layout import signed
from sasa.report.tables.remarks import remarks
from sasa.report.verdicts import METHOD, judge

TEMPLATES = Path(__file__).parent / "templates"
ASSETS = ("dashboard.css", "element.js", "charts.js", "attention.js", "compare.js", "app.js")
SCALES = ("demo", "cifar10_small", "cifar10", "imagenet")
UNDER_WAY = ("running", "waiting", "interrupted", "failed", "missing")


def embedded(value: object) -> Markup:
    """JSON that is safe inside a script element: no character of it can end the element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def breakable(name: str) -> Markup:
    """A row's name, or overrides, that a narrow place may break after a sign."""
    return Markup(re.sub("([=_,.])", r"\1<wbr>", str(escape(name))))


def environment() -> Environment:
    loader = FileSystemLoader(TEMPLATES)
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters.update(json=embedded, id_of=run_id, breakable=breakable)
    made.globals.update(
        id=run_id,
        name_of=name_of,
        title_of=title_of,
        duration=views.duration,
        count=views.count,
        memory=views.memory,
        progress=views.progress,
        pace=views.pace,
        result=views.result,
        signed=signed,
        MEASURES=MEASURES,
    )
    return made


def require(output: Path) -> None:
    """InputError unless there are runs, in a folder or an archive, or such as came with the project."""
    if not output.exists() and not shipped(output):
        raise InputError(f"there is no folder {output} yet: run something first, such as {shortcut('demo', PROGRAM)}")


class Site:
    """All pages of one reading of an output folder. `live` pages ask their server for changes."""

    templates = environment()

    def __init__(self, output: Path, live: bool = False, curves: dict[str, tuple[Any, Curves]] | None = None) -> None:
        require(output)
        self.output, self.live = output, live
        add_tables(output)
        collection = collect_with_shipped(output)
        self.runs, self.warnings, self.places = collection.runs, collection.warnings, collection.places
        self.hidden = collection.hidden
        self.by_id = {run_id(run): run for run in self.runs}
        self.known = {} if curves is None else curves  # by folder, with what told that the file has not changed

    def curves(self, run: Run) -> Curves:
        """The curves of a run, read again only if their file has changed."""
        path = self.places[run.folder] / "metrics.jsonl"
        stamp: tuple[int, ...] = ()  # an archive does not change
        if isinstance(path, Path):
            try:
                stat = path.stat()
            except OSError:
                return {}
            stamp = (stat.st_mtime_ns, stat.st_size)
        if self.known.get(run.folder, (None,))[0] != stamp:
            self.known[run.folder] = (stamp, read_curves(path, run.steps_per_epoch))
        return self.known[run.folder][1]

    @cached_property
    def settings(self) -> dict[tuple[str, str], int]:
        """How many runs there are at each scale and variant, a page each; every scale has one without overrides."""
        scales = [*SCALES, *sorted({run.scale for run in self.runs} - {*SCALES})]
        counts = {(scale, ""): 0 for scale in scales}
        for table in TABLES:
            for setting in settings(self.runs, table):
                counts.setdefault(setting, 0)
        for run in self.runs:
            if (run.scale, run.variant) in counts:
                counts[run.scale, run.variant] += 1
        return dict(sorted(counts.items(), key=lambda item: (scales.index(item[0][0]), item[0][1])))

    @cached_property
    def first(self) -> str:
        """The page that index.html is a copy of: the setting with the most runs."""
        return views.results_name(*max(self.settings, key=lambda setting: self.settings[setting]))

    @cached_property
    def pages(self) -> dict[str, tuple[str, str]]:
        """The result pages' settings by file name."""
        return {views.results_name(*setting): setting for setting in self.settings}

    @cached_property
    def under_way(self) -> tuple[list[status.Line], float | None]:
        """What runs, waits, was stopped or failed, and seconds until the end of all that runs or waits."""
        own = [run for run in self.runs if not run.variant.startswith(SHIPPED)]
        lines = status.status(self.output, own, self.hidden)
        lines = [line for kind in UNDER_WAY for line in lines if line.status == kind]
        return lines, status.seconds_left(lines, self.runs)

    def left(self, run: Run) -> float | None:
        """Seconds that a running run still takes, where its process has told its speed."""
        place = self.places[run.folder]
        known = progress(place, run) if isinstance(place, Path) else None
        return known.left if known else None

    def names(self) -> Iterable[str]:
        """Every page and script of the site but index.html, by its path."""
        yield from self.pages
        yield "compare.html"
        for name in self.by_id:
            yield from (f"runs/{name}.html", f"runs/{name}.js")

    def render(self, name: str) -> str:
        """The text of a page. Raises KeyError for a name that the site does not have."""
        name = self.first if name == "index.html" else name
        if name in self.pages:
            return self.results(*self.pages[name])
        if name == "compare.html":
            runs = sorted(self.runs, key=lambda run: run.started, reverse=True)
            notes = {run.folder: read_notes(self.places[run.folder]) for run in runs}
            hidden = [run.folder for run in self.hidden]
            return self.template("compare.html", "compare", "", runs=runs, notes=notes, hidden=hidden)
        folder, _, rest = name.partition("/")
        stem, _, suffix = rest.rpartition(".")
        if folder != "runs" or suffix not in ("html", "js"):
            raise KeyError(name)
        run = self.by_id[stem]
        return self.run(run) if suffix == "html" else self.data(run)

    def results(self, scale: str, variant: str) -> str:
        """The first page at one scale and variant."""
        tables: list[dict[str, Any]] = []
        for table in TABLES.values():
            comparison = compare(table, self.runs, scale, variant)
            tables.append(
                {
                    "comparison": comparison,
                    "view": views.table(comparison),
                    "remarks": remarks(comparison),
                    "files": views.table_files(comparison),
                    "figures": figures(comparison),
                    "learning": learning(comparison, {run.folder: self.curves(run) for run in comparison.runs}),
                }
            )
        here = [run for run in self.runs if run.scale == scale]
        verdicts = judge(self.runs, scale, variant)
        return self.template(
            "results.html",
            "results",
            "",
            scale=scale,
            variant=variant,
            scales=views.scales(self.settings, self.runs, scale),
            variants=views.variants(self.settings, scale, variant),
            counts=views.counts([one["comparison"] for one in tables]),
            under_way=self.under_way,
            latest=[(run, self.curves(run)) for run in views.latest(here)],
            seeds=views.seeds(one["comparison"] for one in tables),
            verdicts=verdicts,
            reach=views.reach(verdicts),
            method=METHOD,
            tables=tables,
            all_runs=all_runs(here),
            warnings=self.warnings,
        )

    def run(self, run: Run) -> str:
        """The page of one run."""
        content = details(self.places[run.folder], run)
        same = next((run_id(other) for other in self.runs if other.folder == run.same_as), None)
        variant = run.variant if run.row and (run.scale, run.variant) in self.settings else ""
        return self.template(
            "run.html",
            "",
            "../",
            run=run,
            details=content,
            groups=views.layer_groups(content.layers),
            paper=views.paper_row(run),
            same=same,
            results=views.results_name(run.scale, variant),
            curves=self.curves(run),
            figures=run_curves(run, self.curves(run)),
        )

    def data(self, run: Run) -> str:
        """A script that hands one run to the page that compares."""
        own: Details = details(self.places[run.folder], run)
        content = {
            "id": run_id(run),
            "title": title_of(run),
            "row": row_of(run),
            "status": run.status,
            "settings": flat(run.config),
            "changed": [setting.name for setting in own.settings if setting.default is not None],
            "facts": views.facts(run) | ({"notes": own.notes} if own.notes else {}),
            "curves": self.curves(run),
        }
        return f"sasa.addRun({embedded(content)});\n"

    def template(self, template: str, page: str, root: str, **values: Any) -> str:
        values |= {"page": page, "root": root, "live": self.live, "left": self.left}
        return self.templates.get_template(template).render(values)
