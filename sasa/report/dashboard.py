"""`python -m sasa.report dashboard`: the runs as static pages, which open from disk."""

import argparse
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from sasa.errors import InputError
from sasa.report.details import PICTURES, run_id
from sasa.report.site import ASSETS, TEMPLATES, Site

MARK = ".sasa-dashboard"  # lies in a folder that this program may clear


def build(output: Path, to: Path) -> Path:
    """Writes every page of the runs under `output` to the folder `to`; returns the first page's path."""
    site = Site(output)
    prepare(to)
    written = {to / name for name in (MARK, *ASSETS)}
    for name in ASSETS:
        shutil.copyfile(TEMPLATES / name, to / name)
    for name in site.names():
        write(to / name, site.render(name))
        written.add(to / name)
    shutil.copyfile(to / site.first, to / "index.html")
    written.add(to / "index.html")
    for run in site.runs:
        for name in PICTURES:
            path = to / "runs" / f"{run_id(run)}-{name}"
            if place(output / run.folder / name, path):
                written.add(path)
    for path in to.rglob("*"):
        if path.is_file() and path not in written:
            path.unlink()
    return to / "index.html"


def prepare(to: Path) -> None:
    """Make the folder, or see that it is one of ours. Raises InputError where files of another kind would be cleared."""
    try:
        if to.is_dir() and any(to.iterdir()) and not (to / MARK).exists():
            raise InputError(f"{to} holds other files: give an empty folder with --to, or remove it")
        (to / "runs").mkdir(parents=True, exist_ok=True)
        (to / MARK).touch()
    except OSError as error:
        raise InputError(f"cannot write to {to}: {error.strerror}") from error


def write(path: Path, text: str) -> None:
    """Write a page, unless it stands there already: most runs have not changed since the last build."""
    content = text.encode("utf-8", errors="replace")
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)


def place(source: Path, path: Path) -> bool:
    """Put a picture beside the pages, as a hard link where the file system has them. False if there is no picture."""
    if not source.is_file():
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
