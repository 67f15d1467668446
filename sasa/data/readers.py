"""Image sets by the name of their reader, as in timm.data.create_dataset; every one is read by index.

Indices are what the order of samples, the held-out part and resumption are made of. So WebDataset shards, which timm
streams, are indexed once by their tar headers instead (archive.py), and a shard is then as good as a folder.
"""

from typing import IO, Any

from PIL import Image
from timm.data import create_dataset

from sasa.config.data import Data
from sasa.data.archive import tar, webdataset
from sasa.data.hugging_face import hugging_face
from sasa.data.pictures import Pictures
from sasa.data.root import existing_root, given_root, listing
from sasa.data.transforms import View
from sasa.errors import InputError


def open_images(data: Data, split: str) -> Pictures:
    """One split of an image set; InputError says what is missing."""
    view = View(data.size, data.crop, data.augment, data.area)
    kind, _, name = data.reader.partition("/")
    if kind == "folder":
        return folder(data, split, view)
    if kind == "tar":
        return tar(existing_root(data.root), split, view)
    if kind == "wds":
        return webdataset(existing_root(data.root), split, view, data.classes)
    if kind == "hfds" and name:
        return hugging_face(data, name, split, view)
    if kind == "torch" and name:
        return torch_set(data, split, view)
    raise InputError(
        f"data.reader={data.reader} is not known: expected shapes, folder, tar, wds/, hfds/<name>, "
        "torch/cifar10 or torch/cifar100"
    )


class Files(Pictures):
    """Files found by timm's ReaderImageFolder."""

    def __init__(self, reader: Any, view: View) -> None:
        super().__init__([label for _, label in reader.samples], list(reader.class_to_idx), view)
        self.reader = reader

    def open(self, index: int) -> IO[bytes]:
        return self.reader[index][0]

    def name(self, index: int) -> str:
        return self.reader.filename(index, absolute=True)


def folder(data: Data, split: str, view: View) -> Files:
    """root/split/class/image."""
    root = existing_root(data.root)
    if not (root / split).is_dir():
        raise InputError(
            f"{root / split} is not a folder: data.reader=folder expects data.root/split/class/image, and data.root "
            f"has {listing(root)}; correct data.root, data.train_split or data.test_split"
        )
    try:
        return Files(create_dataset("", root=str(root / split), search_split=False).reader, view)
    except RuntimeError as error:
        raise InputError(f"{root / split} has no images in its folders, one a class: {error}") from error


class TorchSet(Pictures):
    """A data set of torchvision, in memory."""

    def __init__(self, dataset: Any, name: str, view: View) -> None:
        labels = getattr(dataset, "targets", None)
        if labels is None:
            raise InputError(f"data.reader={name}: expected a set with labels, such as torch/cifar10 or torch/cifar100")
        super().__init__([int(label) for label in labels], [str(name) for name in dataset.classes], view)
        self.dataset, self.prefix = dataset, name

    def open(self, index: int) -> Image.Image:
        return self.dataset[index][0]

    def name(self, index: int) -> str:
        return f"{self.prefix}[{index}]"


def torch_set(data: Data, split: str, view: View) -> TorchSet:
    """root/<torchvision's files>, downloaded if data.download allows it and they are missing."""
    root = given_root(data.root) if data.download else existing_root(data.root)
    try:
        dataset = create_dataset(data.reader, root=str(root), split=split, download=data.download)
    except AssertionError as error:
        raise InputError(f"data.reader={data.reader}: {error}; try torch/cifar10 or torch/cifar100") from error
    except (RuntimeError, OSError) as error:
        remedy = "check the network" if data.download else "set data.download=true to download it there"
        raise InputError(f"{data.reader} cannot be read from data.root={data.root} ({error}): {remedy}") from error
    return TorchSet(dataset, data.reader, view)
