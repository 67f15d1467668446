"""Where configurations lie: conf/ and experiments/, and a folder of one's own in their form (run.py --config-dir)."""

import os
import sys
from pathlib import Path

from sasa.errors import check

OWN = "SASA_CONFIG_DIR"  # the environment variable with a folder of one's own, which processes of a sweep inherit
PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parent
# Else it is a wheel's command, sasa, that is typed.
REPOSITORY = (ROOT / "run.py").is_file() and Path(sys.argv[0]).stem != "sasa"
PROGRAM = "python run.py" if REPOSITORY else "sasa"


def shipped(name: str) -> Path:
    """conf or experiments: beside the package in a repository, inside it where a wheel was installed."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else ROOT / name


CONF, EXPERIMENTS = shipped("conf"), shipped("experiments")


def own() -> Path | None:
    """The folder of one's own, if there is one; InputError for what is none."""
    given = os.environ.get(OWN)
    if not given:
        return None
    place = Path(given).expanduser().absolute()
    check(
        place.is_dir(),
        f"{place} is no folder: --config-dir (or {OWN}) takes one of your own rows, tables and options",
    )
    return place


def shortcut(target: str, command: str) -> str:
    """A target of the Makefile where there is one, else the command that it stands for."""
    return f"make {target}" if REPOSITORY else command


def folders(place: Path) -> list[str]:
    """The config groups in a folder."""
    return sorted(path.name for path in place.iterdir() if path.is_dir() and path.name not in ("hydra", "__pycache__"))


def own_tables() -> list[str]:
    """Tables that are one's own alone: folders that are no group of conf/ and no table of experiments/."""
    mine = own()
    return [name for name in folders(mine) if name not in (*folders(CONF), *folders(EXPERIMENTS))] if mine else []


def tables() -> list[str]:
    """The tables and figures of experiments/, then one's own."""
    return folders(EXPERIMENTS) + own_tables()


def groups() -> list[str]:
    """All config groups: tables first, then those of conf/."""
    return tables() + folders(CONF)


def files(group: str) -> dict[str, Path]:
    """The options of a config group, which for a table are its rows, and their files."""
    places = [place / group for place in (own(), CONF, EXPERIMENTS) if place]
    return {path.stem: path for place in places for path in sorted(place.glob("*.yaml"))}


def options(group: str) -> list[str]:
    """The choices of a config group, which for a table are its rows."""
    return sorted(files(group))


def own_option() -> list[str]:
    """What a command line ends with that uses a folder of one's own."""
    mine = own()
    return ["--config-dir", str(mine)] if mine else []
