"""The folder that data.root names."""

from pathlib import Path

from sasa.config.data import Data
from sasa.errors import InputError


def existing_root(config: Data) -> Path:
    """data.root, a folder with something in it."""
    if config.root is None:
        raise InputError(f"data.root=null, but data.reader={config.reader} reads images from a folder: set data.root")
    root = Path(config.root).expanduser()
    if not root.exists():
        raise InputError(
            f"data.root={config.root} does not exist: set data.root to the folder with {inside(config)} in it"
        )
    if not root.is_dir():
        raise InputError(f"data.root={config.root} is a file: give the folder that it is in")
    if not any(root.iterdir()):
        raise InputError(f"data.root={config.root} is empty: set data.root to the folder with {inside(config)} in it")
    return root


def inside(config: Data) -> str:
    """What lies in data.root, for a message."""
    return ", ".join(
        dict.fromkeys(name for name in (config.train_split, config.test_split, config.train_annotations) if name)
    )


def listing(folder: Path) -> str:
    """A few of the names in a folder, for a message."""
    names = sorted(entry.name for entry in folder.iterdir())
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
