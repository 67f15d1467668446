"""`python -m sasa.report dashboard`: the runs as static pages, which open from disk."""

import argparse
import os
import shutil
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

from sasa.errors import InputError
from sasa.records.files import Place
from sasa.report.pages import script
from sasa.report.pages.files import PICTURES, run_id
from sasa.report.pages.site import ASSETS, TEMPLATES, Site, require

MARK = (
    ".sasa-dashboard"  # lists what a build wrote into its folder: the next one removes of that what it does not write
)


def build(output: Path, to: Path) -> Path:
    """Write every page of the runs under `output` to the folder `to`; returns the first page's path."""
    require(output)
    before = prepare(to)
    with ProcessPoolExecutor(1) as beside:  # Vega takes about as long as 500 runs do
        placed = beside.submit(script.place, to)
        site = Site(output)
        written = {to / script.NAME, *write_pages(site, to), *place_pictures(site, to)}
        placed.result()
    for path in before - written:
        path.unlink(missing_ok=True)
    (to / MARK).write_text("".join(f"{path.relative_to(to).as_posix()}\n" for path in sorted(written)))
    return to / "index.html"


def write_pages(site: Site, to: Path) -> Iterable[Path]:
    """Every page, and the files that they share; yields their paths."""
    for name in ASSETS:
        shutil.copyfile(TEMPLATES / name, to / name)
        yield to / name
    for name in site.names():
        write(to / name, site.render(name))
        yield to / name
    shutil.copyfile(to / site.first, to / "index.html")
    yield to / "index.html"


def place_pictures(site: Site, to: Path) -> Iterable[Path]:
    """The runs' pictures beside their pages; yields their paths."""
    for run in site.runs:
        for name in PICTURES:
            path = to / "runs" / f"{run_id(run)}-{name}"
            if place(site.places[run.folder] / name, path):
                yield path


def prepare(to: Path) -> set[Path]:
    """Make the folder, or see that it is one of ours; returns what the last build wrote. InputError for other folders."""
    try:
        if to.is_dir() and any(to.iterdir()) and not (to / MARK).exists():
            raise InputError(f"{to} holds other files: give an empty folder with --to, or remove it")
        (to / "runs").mkdir(parents=True, exist_ok=True)
        (to / MARK).touch()
        return {to / name for name in (to / MARK).read_text().splitlines()}
    except OSError as error:
        raise InputError(f"cannot write to {to}: {error.strerror}") from error


def write(path: Path, text: str) -> None:
    """Write a page, unless it stands there already: most runs have not changed since the last build."""
    content = text.encode("utf-8", errors="replace")
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)


def place(source: Place, path: Path) -> bool:
    """Put a picture beside the pages, as a hard link where the file system has them. False if there is no picture."""
    if not isinstance(source, Path) or not source.is_file():  # archives have none
        return False
    with suppress(FileNotFoundError):
        if path.samefile(source):
            return True
        path.unlink()
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)
    return True


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m sasa.report dashboard", description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", type=Path, default=Path("outputs"), metavar="DIR", help="where the runs are")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where the pages go (default: dashboard/ in --output)")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    page = build(options.output, options.to or options.output / "dashboard")
    print(f"{page.absolute().as_uri()}  ({time.monotonic() - started:.1f} s)")
