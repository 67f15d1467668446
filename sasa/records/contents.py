"""What a run reads that is not in its configuration: images and weights, by what they are and not by where they lie."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sasa.config.data import Data
from sasa.config.schema import Config
from sasa.records.weights import fingerprint, weights_of

COCO_2017 = ("annotations/instances_train2017.json", "annotations/instances_val2017.json")
NAMED = (
    "shapes",
    "torch/cifar",
    "hfds/",
    "hfids/",
    "tfds/",
)  # how readers begin whose name says which images they read
LOCAL = ("folder", "tar")  # what such a name has where it reads files of the user's own


@dataclass(frozen=True)
class Contents:
    """images: a hash of the user's own files, "" of a set that its name tells; weights: of what a backbone starts from."""

    images: str = ""
    weights: str = ""


def contents(config: Config) -> Contents:
    """What a configuration reads; InputError where its weights are not there."""
    weights = fingerprint(weights_of(config)) if config.backbone.weights is not None else ""
    return Contents("" if published(config.data) else own_images(config.data), weights)


def published(data: Data) -> bool:
    """Whether it is a set that is the same everywhere."""
    if data.reader.startswith(NAMED) and not any(word in data.reader for word in LOCAL):
        return True
    if data.name == "imagenet" and data.reader == "folder":
        return True
    return data.name == "coco" and (data.train_annotations, data.test_annotations) == COCO_2017


def own_images(data: Data) -> str:
    """A hash of the names and sizes of the files that data.root has for either split; "" where there are none."""
    listed = sorted(files(data)) if data.root is not None else []
    return hashlib.sha256(repr(listed).encode(errors="surrogateescape")).hexdigest()[:16] if listed else ""


def files(data: Data) -> Iterator[tuple[str, int]]:
    """Name below data.root and size of each file of a split: in its folder, its archives, or its annotations."""
    root = Path(str(data.root)).expanduser()
    annotations = {data.train_annotations, data.test_annotations}
    seen = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder above it
            subfolders.clear()
            continue
        seen.add(real)
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), root)
            top = path.split(os.sep)[0]
            if data.train_split in top or data.test_split in top or path in annotations:
                yield path, size(Path(folder, name))


def size(path: Path) -> int:
    """Bytes of a file; -1 of one that is not there, such as behind a broken link, which its reader will name."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
