"""The folder that data.root names."""

from pathlib import Path

from sasa.config.data import Data
from sasa.errors import InputError


def given_root(root: str | None) -> Path:
    """data.root, which may not be there yet."""
    if root is None:
        raise InputError("data.root=null, but the images are read from a folder: set data.root")
    return Path(root).expanduser()


def existing_root(root: str | None) -> Path:
    """data.root, a folder with something in it."""
    folder = given_root(root)
    if not folder.exists():
        raise InputError(f"data.root={root} does not exist: set data.root to the folder of the images")
    if not folder.is_dir():
        raise InputError(f"data.root={root} is a file: give the folder that it is in")
    if not any(folder.iterdir()):
        raise InputError(f"data.root={root} is empty: set data.root to the folder of the images")
    return folder


def check_root(data: Data) -> None:
    """Raise InputError where the folder is not there that a reader reads: generated images and those of the hub have none."""
    kind = data.reader.partition("/")[0]
    if kind == "torch" and data.download:
        given_root(data.root)
    elif kind in ("torch", "folder", "tar", "wds", "coco"):
        existing_root(data.root)


def listing(folder: Path) -> str:
    """A few of the names in a folder, for a message."""
    names = sorted(entry.name for entry in folder.iterdir())
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
