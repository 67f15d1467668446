"""Every way to store images gives the same samples, and every bad input one clear message."""

import io
import json
import pickle
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_data_loaders import FOLDER, data

from sasa.data import hugging_face
from sasa.data.build import eval_loader, splits, train_loader
from sasa.errors import InputError

CLASSES = ("cat", "dog")
COUNT = {"train": 5, "test": 2}  # of each class


def picture(split: str, label: int, number: int) -> bytes:
    """A PNG of one grey, by which it is known again."""
    grey = 100 * label + 10 * number + 5 * (split == "test")
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (grey, grey, grey)).save(file, "PNG")
    return file.getvalue()


def pictures(split: str) -> list[tuple[int, str, bytes]]:
    """Label, name without ending, and content."""
    return [
        (label, f"{name}/{number}", picture(split, label, number))
        for label, name in enumerate(CLASSES)
        for number in range(COUNT[split])
    ]


def pack(path: Path, files: list[tuple[str, bytes]]) -> Path:
    """A tar file."""
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def write_folder(root: Path) -> dict[str, Any]:
    for split in COUNT:
        for _, name, content in pictures(split):
            path = root / split / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return {"reader": "folder"}


def write_tar(root: Path) -> dict[str, Any]:
    for split in COUNT:
        pack(root / f"{split}.tar", [(f"{name}.png", content) for _, name, content in pictures(split)])
    return {"reader": "tar"}


def write_tar_of_tars(root: Path) -> dict[str, Any]:
    for split in COUNT:
        inner = []
        for label, name in enumerate(CLASSES):
            files = [
                (f"{path}.png".split("/")[1], content) for found, path, content in pictures(split) if found == label
            ]
            inner.append((f"{name}.tar", pack(root / "inner.tar", files).read_bytes()))
        pack(root / f"{split}.tar", inner)
    return {"reader": "tar"}


def write_shards(root: Path) -> dict[str, Any]:
    info: dict[str, Any] = {}
    for split in COUNT:
        files = [
            file
            for label, name, content in pictures(split)
            for file in ((f"{name}.png", content), (f"{name}.cls", str(label).encode()), (f"{name}.json", b"{}"))
        ]
        shards = [files[: 3 * COUNT[split]], files[3 * COUNT[split] :]]
        names = [pack(root / f"{split}-{number}.tar", shard).name for number, shard in enumerate(shards)]
        lengths = [len(shard) // 3 for shard in shards]
        info[split] = {"name": split, "num_samples": sum(lengths), "filenames": names, "shard_lengths": lengths}
    (root / "_info.json").write_text(json.dumps({"splits": info}))
    return {"reader": "wds"}


def write_pattern(root: Path) -> dict[str, Any]:
    write_shards(root)
    (root / "_info.json").unlink()
    return {"reader": "wds/", "train_split": "train-{0..1}.tar", "test_split": "test-{0..1}.tar"}


def write_parquet(root: Path) -> dict[str, Any]:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
    for split in COUNT:
        rows = {
            "img": [{"bytes": content, "path": None} for _, _, content in pictures(split)],
            "label": [label for label, _, _ in pictures(split)],
        }
        datasets.Dataset.from_dict(rows, features=features).to_parquet(str(root / "set" / f"{split}.parquet"))
    return {"reader": f"hfds/{root / 'set'}", "root": str(root / "cache")}


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Files as torchvision's CIFAR10 unpacks them, with check sums that are taken as right."""
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    folder = root / "cifar-10-batches-py"
    folder.mkdir()

    def rows(split: str, which: slice) -> dict[str, Any]:
        chosen = pictures(split)[which]
        pixels = [np.array(Image.open(io.BytesIO(content))).transpose(2, 0, 1).reshape(-1) for _, _, content in chosen]
        return {"data": np.array(pixels), "labels": [label for label, _, _ in chosen]}

    for number in range(5):
        (folder / f"data_batch_{number + 1}").write_bytes(
            pickle.dumps(rows("train", slice(2 * number, 2 * number + 2)))
        )
    (folder / "test_batch").write_bytes(pickle.dumps(rows("test", slice(None))))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASSES)}))
    return {"reader": "torch/cifar10"}


WRITERS = [write_folder, write_tar, write_tar_of_tars, write_shards, write_pattern, write_parquet, write_cifar]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__[6:])
def test_every_reader_gives_every_image_with_its_label(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = write(tmp_path, monkeypatch) if write is write_cifar else write(tmp_path)
    config = data(
        **FOLDER | {"root": str(tmp_path), "mean": [0.0] * 3, "std": [1 / 255] * 3, "validation": 0.2} | changes
    )
    parts = splits(config)
    assert parts.classes == (["0", "1"] if "wds" in config.reader else list(CLASSES))

    def known(samples: Any) -> list[tuple[int, int]]:
        """(grey, label) of each sample."""
        return [
            (round(image.mean().item()), int(label))
            for images, labels in eval_loader(samples, config, batch=3, device="cpu")
            for image, label in zip(images, labels, strict=True)
        ]

    expected = {
        split: [
            (100 * label + 10 * number + 5 * (split == "test"), label) for label in (0, 1) for number in range(count)
        ]
        for split, count in COUNT.items()
    }
    assert sorted(known(parts.test)) == expected["test"]
    assert sorted(known(parts.train) + known(parts.validation)) == expected["train"]
    assert len(parts.validation) == 2
    first, again = (
        [images for images, _ in train_loader(parts, data(**vars(config) | {"workers": workers}), **EPOCH)]
        for workers in (0, 2)
    )
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert isinstance(parts.train.source.name(0), str)  # type: ignore[attr-defined]


EPOCH: dict[str, Any] = {"seed": 0, "epoch": 1, "batch": 2, "device": "cpu"}


def test_a_broken_member_of_an_archive_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path)
    pack(tmp_path / "test.tar", [("cat/0.png", picture("test", 0, 0)), ("dog/9.jpg", b"text")])
    config = data(**FOLDER | {"reader": "tar", "root": str(tmp_path)})
    with pytest.raises(InputError, match=r"test\.tar/dog/9\.jpg cannot be read as an image"):
        list(eval_loader(splits(config).test, config, batch=2, device="cpu"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": None}, r"data\.root=null, but the images are read from a folder: set data\.root"),
        ({"root": "/nowhere/at/all"}, r"data\.root=/nowhere/at/all does not exist"),
        ({"reader": "folders"}, r"data\.reader=folders is not known: expected shapes, folder, tar"),
        ({"reader": "tfds/mnist"}, r"data\.reader=tfds/mnist is not known"),
        ({"reader": "torch/moon"}, r"data\.reader=torch/moon: .* try torch/cifar10"),
        ({"reader": "torch/cifar10"}, r"torch/cifar10 cannot be read .* set data\.download=true"),
        (
            {"reader": "torch/cifar10", "root": None},
            r"data\.root=null, but the images are read from a folder: set data\.root",
        ),
        ({"reader": "hfds/nobody/nothing"}, r"hfds/nobody/nothing, split train, .* set data\.download=true"),
        ({"reader": "tar"}, r"train\.tar is missing: .* has test, train"),
        ({"reader": "wds"}, r"has no _info\.json with a split train: .*=train-\{000\.\.146\}\.tar"),
        ({"reader": "wds", "train_split": "a-{0..3}.tar"}, r"4 of the 4 shards of a-\{0\.\.3\}\.tar are missing"),
        ({"test_split": "val"}, r"val is not a folder: .* has test, train; correct data\.root, .* or data\.test_split"),
        ({"classes": 1000}, r"data\.classes=1000, but .* has 2 classes: set data\.classes=2"),
        ({"train_images": 11}, r"data\.train_images=11, but there are 10: lower it"),
        ({"test_images": 5}, r"data\.test_images=5, but there are 4"),
    ],
)
def test_what_does_not_fit_is_said(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_folder(tmp_path)
    with pytest.raises(InputError, match=message):
        splits(data(**FOLDER | {"root": str(tmp_path)} | changes))


def test_folders_without_what_they_should_have(tmp_path: Path) -> None:
    config = data(**FOLDER | {"root": str(tmp_path)})
    with pytest.raises(InputError, match="is empty: set data"):
        splits(config)
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(InputError, match="train has no images"):
        splits(config)
    write_folder(tmp_path)
    (tmp_path / "test" / "dog").rename(tmp_path / "test" / "fox")
    with pytest.raises(InputError, match="only one of them has dog, fox: both splits need images of each class"):
        splits(config)
    with pytest.raises(InputError, match="is a file: give the folder"):
        splits(data(**FOLDER | {"root": __file__}))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("0.png", b""), ("0.cls", b"7")], r"data\.classes=2, but .* labels from 7 to 7: set data\.classes=8"),
        ([("0.png", b""), ("0.json", b"{}")], r"train-0\.tar .* \(0\.png has no \.cls file with its label"),
        ([("0.png", b""), ("0.cls", b"cat")], r"train-0\.tar cannot be read as a WebDataset shard \(invalid literal"),
        ([("0.txt", b"")], r"have no samples of an image \(jpg, jpeg, png, webp\) and a \.cls file"),
    ],
)
def test_shards_without_what_they_should_have(files: list[tuple[str, bytes]], message: str, tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", files)
    with pytest.raises(InputError, match=message):
        splits(data(**FOLDER | {"reader": "wds", "root": str(tmp_path), "train_split": "train-0.tar"}))


@pytest.mark.parametrize(("reader", "split"), [("tar", "train"), ("wds", "train.tar")])
def test_archives_that_are_none(reader: str, split: str, tmp_path: Path) -> None:
    (tmp_path / "train.tar").write_bytes(b"text" * 500)
    with pytest.raises(InputError, match=r"train\.tar cannot be read as"):
        splits(data(**FOLDER | {"reader": reader, "root": str(tmp_path), "train_split": split}))
    if reader == "tar":
        pack(tmp_path / "train.tar", [("read.me", b"text")])
        with pytest.raises(InputError, match=r"train\.tar has no images"):
            splits(data(**FOLDER | {"reader": reader, "root": str(tmp_path)}))


def test_a_table_without_class_labels(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"text": ["a"], "label": [0]}).to_parquet(str(tmp_path / "set" / "train.parquet"))
    config = data(**FOLDER | {"reader": f"hfds/{tmp_path / 'set'}", "root": str(tmp_path / "cache")})
    with pytest.raises(InputError, match="has the columns text, label: expected a column of images and one of class"):
        splits(config)
    with pytest.raises(InputError, match=r"Unknown split .* correct the reader or its splits"):
        splits(data(**vars(config) | {"train_split": "practice"}))


def test_the_hub_is_asked_only_where_downloads_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    offline = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: offline.append(datasets.config.HF_HUB_OFFLINE))
    for download in (False, True):
        hugging_face.load(datasets, data(download=download), "mnist", "train", None)
        assert not datasets.config.HF_HUB_OFFLINE
    assert offline == [True, False]


def test_optional_packages_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match="pip install datasets"):
        splits(data(**FOLDER | {"reader": "hfds/mnist", "root": str(tmp_path)}))
    monkeypatch.setattr("timm.data.readers.reader_wds.wds", None)
    with pytest.raises(InputError, match="pip install webdataset"):
        splits(data(**FOLDER | {"reader": "wds", "root": str(tmp_path)}))
