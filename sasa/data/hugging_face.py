"""Sets of the Hugging Face hub, or folders of parquet files, through the datasets package."""

import io
from pathlib import Path
from typing import IO, Any

from sasa.config.data import Data
from sasa.data.pictures import Pictures
from sasa.data.transforms import View
from sasa.errors import InputError


class Table(Pictures):
    """A table with a column of encoded images."""

    def __init__(self, table: Any, image: str, label: str, name: str, view: View) -> None:
        super().__init__(table[label][:], list(table.features[label].names), view)
        self.table, self.image, self.prefix = table, image, name

    def open(self, index: int) -> IO[bytes]:
        encoded = self.table[index][self.image]
        return io.BytesIO(encoded["bytes"]) if encoded["bytes"] else open(encoded["path"], "rb")

    def name(self, index: int) -> str:
        path = self.table[index][self.image]["path"]
        return f"{self.prefix}[{index}]" + (f" ({path})" if path else "")


def hugging_face(data: Data, name: str, split: str, view: View) -> Table:
    """The set `name`; data.root is its cache (null: the usual one). Columns are found by their types."""
    try:
        import datasets  # an optional package
    except ImportError as error:
        raise InputError(f"data.reader={data.reader} needs a package that is missing: pip install datasets") from error
    root = str(Path(data.root).expanduser()) if data.root else None
    table = load(datasets, data, name, split, root)
    images = [column for column, kind in table.features.items() if isinstance(kind, datasets.Image)]
    labels = [column for column, kind in table.features.items() if isinstance(kind, datasets.ClassLabel)]
    if not images or not labels:
        raise InputError(
            f"data.reader={data.reader} has the columns {', '.join(table.features)}: expected a column of images and "
            "one of class labels (types Image and ClassLabel), so choose another set"
        )
    label = "label" if "label" in labels else labels[0]
    return Table(table.cast_column(images[0], datasets.Image(decode=False)), images[0], label, data.reader, view)


def load(datasets: Any, data: Data, name: str, split: str, root: str | None) -> Any:
    """datasets.load_dataset, which may use the network only if data.download allows it."""
    from huggingface_hub import constants  # comes with datasets

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    if not data.download:
        datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        return datasets.load_dataset(name, split=split, cache_dir=root)
    except ValueError as error:  # an unknown split, or a configuration that must be chosen
        raise InputError(f"data.reader={data.reader}: {error}; correct the reader or its splits") from error
    except (OSError, RuntimeError) as error:
        remedy = "check the name and the network" if data.download else "correct the name, or set data.download=true"
        raise InputError(f"data.reader={data.reader}, split {split}, cannot be opened ({error}): {remedy}") from error
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
