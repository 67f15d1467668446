"""Images inside tar files: one tar file a split, or the shards of a WebDataset.

Headers are read once, when the set is opened; after that an image is a file, an offset and a length, whichever process
asks for it and in whatever order. Nothing is kept open, so workers never share a file position.
"""

import io
import os
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

from sasa.data.pictures import Pictures
from sasa.data.root import listing
from sasa.data.transforms import View
from sasa.errors import InputError

IMAGES = ("jpg", "jpeg", "png", "webp")  # of a WebDataset sample


class Member(NamedTuple):
    """One image of an archive."""

    path: str
    name: str
    offset: int
    length: int


class Members(Pictures):
    """Images at known places of tar files."""

    def __init__(self, members: list[Member], labels: list[int], classes: list[str], view: View) -> None:
        super().__init__(labels, classes, view)
        self.members = members

    def open(self, index: int) -> io.BytesIO:
        member = self.members[index]
        with open(member.path, "rb") as file:
            file.seek(member.offset)
            return io.BytesIO(file.read(member.length))

    def name(self, index: int) -> str:
        return f"{self.members[index].path}/{self.members[index].name}"


def tar(root: Path, split: str, view: View) -> Members:
    """root/split.tar with class/image members, found by timm's ReaderImageInTar; tar files in it are read too."""
    path = root / f"{split}.tar"
    if not path.is_file():
        raise InputError(
            f"{path} is missing: data.reader=tar expects one file a split, and data.root has {listing(root)}; "
            "correct data.root, data.train_split or data.test_split"
        )
    from timm.data import create_dataset  # timm takes seconds to import

    try:
        reader = create_dataset("", root=str(path)).reader
    except tarfile.TarError as error:
        raise InputError(f"{path} cannot be read as an uncompressed tar file ({error}): pack it again") from error
    except ValueError as error:
        raise InputError(f"{path} has no images: expected members such as class/image.jpg") from error
    places = [
        Member(str(path), image.name, image.offset_data + (inner.offset_data if inner else 0), image.size)
        for image, _, inner in reader.samples
    ]
    return Members(places, [int(label) for label in reader.targets], list(reader.class_name_to_idx), view)


def webdataset(root: Path, split: str, view: View, classes: int) -> Members:
    """Shards of one split: named in root/_info.json, or by a pattern as train-{000..146}.tar; labels in .cls files."""
    members: list[Member] = []
    labels: list[int] = []
    for path in shards(root, split):
        try:
            index_shard(path, members, labels)
        except (tarfile.TarError, OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as a WebDataset shard ({error}): replace the file") from error
    if not members:
        raise InputError(
            f"data.root={root}: the shards of {split} have no samples of an image ({', '.join(IMAGES)}) and a .cls file"
        )
    if not 0 <= min(labels) <= max(labels) < classes:
        raise InputError(
            f"data.classes={classes}, but the shards of {split} have labels from {min(labels)} to {max(labels)}: "
            f"set data.classes={max(labels) + 1}"
        )
    return Members(members, labels, [str(label) for label in range(classes)], view)


def shards(root: Path, split: str) -> list[Path]:
    """Files of a split, resolved by timm's ReaderWds."""
    from timm.data.readers import create_reader  # timm takes seconds to import

    try:
        reader: Any = create_reader("wds/", root=str(root), split=split)
    except (RuntimeError, KeyError) as error:
        if "install webdataset" in str(error):
            raise InputError("data.reader=wds/ needs a package that is missing: pip install webdataset") from error
        raise InputError(
            f"data.root={root} has no _info.json with a split {split}: name a split that it has, or give the shards as in "
            "'data.train_split=train-{000..146}.tar'"
        ) from error
    paths = [root / name for name in reader.split_info.filenames]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of the {len(paths)} shards of {split} are missing, such as {missing[0]}; data.root has "
            f"{listing(root)}: shards must be local files, and match data.train_split and data.test_split"
        )
    return paths


def index_shard(path: Path, members: list[Member], labels: list[int]) -> None:
    """Append the samples of a shard: files of one key (the name up to its first dot), an image and a .cls file."""
    images: dict[str, Member] = {}
    classes: dict[str, int] = {}
    with tarfile.open(path, "r:") as archive:
        for file in archive:
            folder, base = os.path.split(file.name)
            stem, _, extension = base.partition(".")
            key = os.path.join(folder, stem)
            if extension.lower() in IMAGES:
                images[key] = Member(str(path), file.name, file.offset_data, file.size)
            elif extension == "cls":
                content = archive.extractfile(file)
                classes[key] = int(content.read()) if content else -1
    unlabelled = [image.name for key, image in images.items() if key not in classes]
    if unlabelled:
        raise ValueError(f"{unlabelled[0]} has no .cls file with its label beside it")
    members.extend(images.values())
    labels.extend(classes[key] for key in images)
