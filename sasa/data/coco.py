"""Sets in COCO's format: a folder of images and a file of annotations."""

import json
import os
from collections import Counter
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sasa.config.data import Data
from sasa.data.boxes import Annotations, Boxed, BoxView
from sasa.data.root import existing_root, listing
from sasa.errors import InputError

LARGEST = 2**20  # pixels a side that an image may have


class Coco(Boxed):
    """Image files by the names of an annotation file."""

    def __init__(
        self, folder: Path, files: list[str], annotations: Annotations, classes: list[str], view: BoxView
    ) -> None:
        super().__init__(annotations, classes, view)
        self.folder, self.files = folder, files

    def open(self, index: int) -> Image.Image:
        return Image.open(self.folder / self.files[index])

    def name(self, index: int) -> str:
        return str(self.folder / self.files[index])


def open_coco(data: Data, split: str, field: str) -> Coco:
    """One split: images in data.root/split, boxes in the file that data.<field> names; InputError says what is wrong."""
    root = existing_root(data.root)
    annotations = getattr(data, field)
    if annotations is None:
        raise InputError(
            f"data.{field}=null, but data.reader=coco reads boxes from a file: give one in COCO's format, below data.root"
        )
    folder, path = root / split, root / annotations
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not a folder: data.reader=coco expects the images in data.root/{split}, and data.root has "
            f"{listing(root)}; correct data.root, data.train_split or data.test_split"
        )
    content = read_annotations(path, field)
    labels, classes = number_classes(content["categories"], data.classes, path)
    annotations = arrange(content, labels, path)
    files = [str(image.get("file_name")) for image in content["images"]]
    present = set(os.listdir(folder))
    missing = [name for name in files if name not in present and not os.path.isfile(folder / name)]
    if len(missing) == len(files):
        raise InputError(
            f"{folder} has none of the {len(files)} images that {path} names, such as {missing[0]}: correct data.root, "
            f"data.{field.replace('annotations', 'split')} or data.{field}"
        )
    if missing and not data.skip_broken:
        raise InputError(
            f"{folder} lacks {len(missing)} of the {len(files)} images that {path} names, such as {missing[0]}: "
            "add them, or set data.skip_broken=true to leave such images out"
        )
    return Coco(folder, files, annotations, classes, BoxView(data.size, data.jitter, data.augment))


def read_annotations(path: Path, field: str) -> dict[str, Any]:
    """The content of an annotation file."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: correct data.root or data.{field}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}): data.{field} is a JSON file in COCO's format") from error
    for name in ("images", "annotations", "categories"):
        items = content.get(name) if isinstance(content, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise InputError(
                f"{path} has no list of {name}: data.{field} is a file in COCO's format (instances_*.json)"
            )
    for name in ("images", "categories"):
        if not content[name]:
            raise InputError(f"{path} names no {name}: data.{field} needs at least one")
    check_ids(content, path)
    return content


def check_ids(content: dict[str, Any], path: Path) -> None:
    """Raise InputError unless all ids are whole numbers, and those of images and of categories are each their own."""
    for name, key in (
        ("images", "id"),
        ("categories", "id"),
        ("annotations", "image_id"),
        ("annotations", "category_id"),
    ):
        for item in content[name]:
            if not isinstance(item.get(key), int):
                raise InputError(f"{path}: one of the {name} has {key} {item.get(key)}: expected a whole number")
    for name in ("images", "categories"):
        for number, times in Counter(item["id"] for item in content[name]).items():
            if times > 1:
                raise InputError(f"{path} has {times} {name} with the id {number}: give each its own")


def number_classes(categories: list[dict[str, Any]], classes: int, path: Path) -> tuple[dict[int, int], list[str]]:
    """Class of each category number, and names by class; what shares its name with others has its number with it.

    Category n is class n - 1 where all numbers are from 1 to data.classes, as with COCO's 90; otherwise classes are
    in the order of the numbers.
    """
    counts = Counter(item.get("name") for item in categories)
    names = {}
    for item in sorted(categories, key=itemgetter("id")):
        number, name = item["id"], item.get("name")
        names[number] = str(name) if counts[name] == 1 else f"{name} ({number})"
    if all(1 <= number <= classes for number in names):
        by_class = [names.get(number, f"({number})") for number in range(1, classes + 1)]
        return {number: number - 1 for number in names}, by_class
    if len(names) != classes:
        raise InputError(
            f"data.classes={classes}, but {path} has {len(names)} categories: set data.classes={len(names)}"
        )
    return {number: label for label, number in enumerate(names)}, list(names.values())


def is_number(value: Any) -> bool:
    """Whether pixels can be so many: JSON in Python may hold NaN and infinity."""
    return isinstance(value, int | float) and abs(value) <= LARGEST**2


def arrange(content: dict[str, Any], labels: dict[int, int], path: Path) -> Annotations:
    """The boxes by image, in the order of the file."""
    sizes: list[tuple[Any, Any]] = []
    places: dict[int, int] = {}
    for image in content["images"]:
        size = (image.get("height"), image.get("width"))
        if not all(isinstance(side, int) and 0 < side <= LARGEST for side in size):
            raise InputError(f"{path}: image {image['id']} has no height and width in pixels: add them")
        places[image["id"]] = len(sizes)
        sizes.append(size)
    rows = []
    for item in content["annotations"]:
        what = f"{path}: annotation {item.get('id')}"
        for key, known in (("image", places), ("category", labels)):
            if item[f"{key}_id"] not in known:
                raise InputError(f"{what} is of {key} {item[f'{key}_id']}, which the file does not name: remove it")
        box, area, crowd = item.get("bbox"), item.get("area"), item.get("iscrowd", 0)
        if not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
            raise InputError(f"{what} has bbox {box}: expected four numbers, x, y, width and height")
        if area is None:
            area = box[2] * box[3]
        elif not is_number(area):
            raise InputError(f"{what} has area {area}: expected a number of pixels, or none for its box's")
        if crowd not in (0, 1):
            raise InputError(f"{what} has iscrowd {crowd}: expected 0 or 1")
        rows.append((places[item["image_id"]], *box, labels[item["category_id"]], area, crowd))
    rows.sort(key=itemgetter(0))  # stable: within an image they stay in the order of the file
    table = np.array(rows, np.float64).reshape(-1, 8)
    return Annotations(
        sizes=np.array(sizes, np.int64),
        starts=np.searchsorted(table[:, 0], np.arange(len(sizes) + 1)),
        boxes=table[:, 1:5],
        labels=table[:, 5].astype(np.int64),
        areas=table[:, 6],
        crowd=table[:, 7] > 0,
    )
