"""Loaders give the same batches whoever reads them, and errors name what is wrong."""

import io
import os
import pickle
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, TINY, begin, end, only
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sasa.config import compose
from sasa.config import options as choices
from sasa.config.choices import Augment
from sasa.config.data import Data
from sasa.data.build import Splits, eval_loader, splits, train_loader
from sasa.data.loader import EvalOrder, Loader, TrainOrder, batches_per_epoch
from sasa.errors import InputError

BASE: dict[str, Any] = {
    "name": "test", "reader": "shapes", "root": None, "train_split": "train", "test_split": "test", "download": False,
    "size": 32, "classes": 4, "train_images": 40, "test_images": 12, "validation": 0.1, "augment": Augment.none,
    "area": 0.08, "crop": 1.0, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "skip_broken": False, "workers": 0,
}  # fmt: skip
FOLDER = {"reader": "folder", "classes": 2, "train_images": None, "test_images": None, "augment": Augment.crop_flip}


def data(**changes: Any) -> Data:
    return Data(**BASE | changes)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 training and 6 test pictures of two classes, most of them smaller than the input."""
    root = tmp_path_factory.mktemp("pictures")
    pixels = np.random.default_rng(0)
    for split, count in (("train", 15), ("test", 3)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                height, width = 20 + 2 * number, 44 - number
                picture = Image.fromarray(pixels.integers(0, 255, (height, width, 3), np.uint8))
                picture.save(root / split / name / f"{number}.png")
    return root


def read(loader: Loader) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(loader)


def equal(first: list[tuple[torch.Tensor, torch.Tensor]], second: list[tuple[torch.Tensor, torch.Tensor]]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a, b) for one, other in zip(first, second, strict=True) for a, b in zip(one, other, strict=True)
    )


def epoch(config: Data, parts: Splits, **changes: Any) -> Loader:
    return train_loader(parts, config, **{"seed": 1, "epoch": 2, "batch": 4, "device": "cpu"} | changes)


@pytest.mark.parametrize("kind", ["shapes", "folder"])
def test_batches_do_not_depend_on_workers_or_on_where_the_epoch_starts(kind: str, root: Path) -> None:
    changes = FOLDER | {"root": str(root)} if kind == "folder" else {}
    parts = splits(data(**changes))
    whole = read(epoch(data(**changes), parts))
    for workers in (1, 2):
        assert equal(whole, read(epoch(data(workers=workers, **changes), parts)))
    for start, workers in ((3, 0), (5, 2)):
        rest = range(start, len(whole))
        assert equal(whole[start:], read(epoch(data(workers=workers, **changes), parts, numbers=rest)))
    fresh = splits(data(**changes))
    assert equal(whole, read(epoch(data(**changes), fresh)))
    assert not equal(whole, read(epoch(data(**changes), parts, epoch=3)))
    assert not equal(whole, read(epoch(data(**changes), parts, seed=2)))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_generator_of_the_run_is_left_alone(workers: int, root: Path) -> None:
    config = data(**FOLDER, root=str(root), workers=workers)
    parts = splits(config)
    before = torch.get_rng_state()
    read(epoch(config, parts))
    assert torch.equal(before, torch.get_rng_state())


def test_augmentation_differs_between_epochs_but_not_the_evaluation_view(root: Path) -> None:
    config = data(**FOLDER, root=str(root))
    train = splits(config).train
    views = [train.__getitems__([(0, epoch, 5)]).images for epoch in (0, 0, 1)]
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    flat = splits(data(**FOLDER | {"augment": Augment.flip}, root=str(root))).train
    plain = flat.__getitems__([5]).images
    flips = [flat.__getitems__([(0, epoch, 5)]).images for epoch in range(20)]
    mirrored = [torch.equal(view, plain.flip(-1)) for view in flips]
    assert all(torch.equal(view, plain) or other for view, other in zip(flips, mirrored, strict=True))
    assert 2 < sum(mirrored) < 18


def test_a_random_crop_takes_the_share_of_the_picture_that_is_asked_for() -> None:
    """Of a picture larger or smaller than the input alike: each pixel of the picture has a grey of its own column."""
    from sasa.data.pictures import pixels_of  # bring torchvision, which the script below does without
    from sasa.data.transforms import View

    for side in (200, 40):
        columns = np.linspace(0, 255, side).astype(np.uint8)
        picture = Image.fromarray(np.broadcast_to(columns[None, :, None], (side, side, 3)).copy())
        for area in (0.08, 0.4, 1.0):
            view = View(64, 1.0, Augment.crop_flip, area)
            with torch.random.fork_rng(devices=[]):
                pixels = torch.stack([view(pixels_of(picture), seed)[0].float() for seed in range(200)])
            widths = (pixels.amax((1, 2)) - pixels.amin((1, 2))) / 255  # of the picture's
            least = (area * 3 / 4) ** 0.5  # of a crop as narrow as they come
            assert least - 0.05 < widths.min() < least + 0.15
            assert widths.max() > 0.9
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50, 3), np.uint8))
    with torch.random.fork_rng(devices=[]):
        pixels = View(32, 0.5, Augment.crop_flip, 1.0)(pixels_of(noise), 0).permute(1, 2, 0).numpy().astype(int)
    whole = np.array(noise.resize((32, 32), Image.Resampling.BICUBIC))
    assert any(np.abs(pixels - either).max() <= 1 for either in (whole, whole[:, ::-1]))


JPEGS = {
    "plain": {},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "grey": {"mode": "L"},
    "CMYK": {"mode": "CMYK"},
    "RGB": {"keep_rgb": True},
}


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_has_the_pixels_that_pillow_finds(kind: str) -> None:
    from sasa.data.pictures import decoded

    options = dict(JPEGS[kind])
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (37, 53, 3), np.uint8))
    picture = noise.resize((101, 67), Image.Resampling.BICUBIC).convert(options.pop("mode", "RGB"))
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    expected = np.array(Image.open(file).convert("RGB"))
    assert np.array_equal(decoded(file.getvalue()).permute(1, 2, 0).numpy(), expected)
    with pytest.raises(OSError, match="truncated"):
        decoded(file.getvalue()[:-40])


@pytest.mark.slow
def test_a_resized_picture_has_the_same_bits_on_any_processor(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import hashlib, torch; from sasa.data.transforms import resized; "
        "pixels = torch.randint(256, (3, 90, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)); "
        "print(hashlib.sha256(torch.stack([resized(x, (64, 48)) for x in (pixels, pixels.permute(1, 2, 0).contiguous()"
        ".permute(2, 0, 1))]).numpy().tobytes()).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
            env=os.environ | {"ATEN_CPU_CAPABILITY": capability},
        ).stdout
        for capability in ("default", "avx2")
    }  # fmt: skip
    exec(code, {})  # here, as the processor has it
    assert said == {capsys.readouterr().out}


@pytest.mark.parametrize("area", [0, -0.1, 1.1, float("nan")])
def test_an_area_that_is_no_share(area: float) -> None:
    with pytest.raises(InputError, match=rf"data\.area={area}: expected a fraction in \(0, 1\]"):
        data(area=area)


@pytest.mark.parametrize("name", choices("data"))
def test_only_where_pictures_are_smaller_than_the_input_crops_are_large(name: str) -> None:
    compose.register()
    task = "detection" if name in ("coco", "shapes_detection") else "classification"
    assert compose.compose_row([f"task={task}", f"data={name}"]).data.area == (0.4 if "cifar" in name else 0.08)


def test_images_are_normalised_and_evaluated_once_in_order(root: Path) -> None:
    config = data(**FOLDER, root=str(root), crop=0.8)
    parts = splits(config)
    batches = read(eval_loader(parts.test, config, batch=4, device="cpu"))
    assert [len(labels) for _, labels in batches] == [4, 2]
    images, labels = (torch.cat(both) for both in zip(*batches, strict=True))
    assert images.dtype == torch.float32
    assert images.shape == (6, 3, 32, 32)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(images[1], parts.test[1][0])
    picture = Image.open(root / "test" / "cat" / "1.png")  # 43 x 22
    picture = picture.resize((int(40 * 43 / 22), 40), Image.Resampling.BICUBIC)  # shorter side 32 / 0.8
    left = round((picture.width - 32) / 2)
    expected = np.array(picture.crop((left, 4, left + 32, 36)), np.float32) / 255
    expected = (expected - np.array(config.mean)) / np.array(config.std)
    assert np.abs(images[1].permute(1, 2, 0).numpy() - expected).max() < 1.001 / 255 / min(config.std)


def test_held_out_images_do_not_depend_on_the_run_and_are_not_trained_on() -> None:
    parts = splits(data())
    train, validation = set(parts.train.indices.tolist()), set(parts.validation.indices.tolist())
    assert (len(train), len(validation), len(parts.test)) == (36, 4, 12)
    assert train | validation == set(range(40))
    assert parts.validation.indices.tolist() == splits(data(augment=Augment.none)).validation.indices.tolist()
    assert len(splits(data(validation=0.001)).validation) == 1
    assert len(splits(data(validation=0.999)).train) == 1


@given(images=st.integers(1, 60), batch=st.integers(1, 70), seed=st.integers(-(2**62), 2**62), some=st.data())
def test_an_epoch_is_every_image_at_most_once_and_never_empty(
    images: int, batch: int, seed: int, some: st.DataObject
) -> None:
    count = batches_per_epoch(images, batch)
    whole = list(TrainOrder(images, seed=seed, epoch=0, batch=batch, numbers=range(count)))
    positions = [position for keys in whole for _, _, position in keys]
    assert len(whole) == count >= 1
    assert len(set(positions)) == len(positions) == min(images, len(whole) * batch)
    assert set(positions) <= set(range(images))
    numbers = sorted(some.draw(st.sets(st.integers(0, count - 1))))
    share = TrainOrder(images, seed=seed, epoch=0, batch=batch, numbers=numbers)
    assert list(share) == [whole[number] for number in numbers]
    assert len(share) == len(numbers)


@given(images=st.integers(1, 60), batch=st.integers(1, 70), ranks=st.integers(1, 9))
def test_an_evaluation_is_every_image_once_in_order_or_shared_by_ranks_in_turn(
    images: int, batch: int, ranks: int
) -> None:
    whole = list(EvalOrder(images, batch=batch))
    assert [position for positions in whole for position in positions] == list(range(images))
    shares = [EvalOrder(images, batch=batch, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert [list(share) for share in shares] == [whole[rank::ranks] for rank in range(ranks)]
    assert [len(share) for share in shares] == [len(list(share)) for share in shares]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """12 pictures a split and class; of training, one is text, one is cut short and one is empty."""
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 40, 3), np.uint8))
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(12):
                picture.save(tmp_path / split / name / f"{number}.jpg")
    (tmp_path / "train" / "cat" / "3.jpg").write_text("not an image")
    cut = tmp_path / "train" / "dog" / "5.jpg"
    cut.write_bytes(cut.read_bytes()[:400])
    (tmp_path / "train" / "dog" / "7.jpg").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_named(workers: int, broken: Path) -> None:
    config = data(**FOLDER, root=str(broken), workers=workers)
    parts = splits(config)
    with pytest.raises(
        InputError, match=r"(cat/3|dog/5|dog/7)\.jpg cannot be read .* data\.skip_broken=true"
    ) as caught:
        read(epoch(config, parts))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_images_are_left_out_and_counted_once(workers: int, broken: Path) -> None:
    config = data(**FOLDER, root=str(broken), workers=workers, skip_broken=True, validation=0.01)
    parts = splits(config)
    bad = {str(broken / "train" / name) for name in ("cat/3.jpg", "dog/5.jpg", "dog/7.jpg")}
    bad -= {parts.validation.source.name(index) for index in parts.validation.indices}  # type: ignore[attr-defined]
    for number in (0, 1):
        loader = epoch(config, parts, epoch=number, batch=1)
        batches = read(loader)
        assert len(batches) == len(parts.train)
        assert sum(not len(images) for images, _ in batches) == len(bad)  # of nothing but broken images
        assert set(loader.samples.skipped) == bad
    sizes = [len(labels) for _, labels in read(epoch(config, parts, batch=8))]
    assert 16 - len(bad) <= sum(sizes) <= 16


def test_samples_travel_to_workers_that_are_not_forked(root: Path) -> None:
    parts = splits(data(**FOLDER, root=str(root)))
    again = pickle.loads(pickle.dumps(parts.train))
    assert torch.equal(again[3][0], parts.train[3][0])


SCRIPT = """
import os, signal, subprocess, sys
import sasa.train.sheet
from sasa.data.build import splits, train_loader
from test_data_loaders import data
asked = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: asked.append(number))
config = data(workers=2, train_images=400)
batches = iter(train_loader(splits(config), config, seed=0, epoch=0, batch=4, device="cpu"))
[next(batches) for _ in range(8)]  # more than the first worker had at its start: both are up
os.killpg(0, signal.SIGINT)
os.killpg(0, signal.SIGTERM)
for worker in open(f"/proc/self/task/{os.getpid()}/children").read().split():  # as Slurm does
    os.kill(int(worker), signal.SIGUSR2)
    subprocess.run(["kill", "-TERM", worker], check=True)  # by another than their parent
print(sum(1 for _ in batches), sorted(asked) == [signal.SIGINT, signal.SIGTERM])
batches = iter(train_loader(splits(config), config, seed=0, epoch=0, batch=4, device="cpu"))
next(batches)
print("left early", [name for name in ("timm", "torchvision", "datasets") if name in sys.modules])
"""


def test_a_run_on_generated_images() -> None:
    """Signals to the process group leave the workers to their parent, which may leave an epoch early and still end;
    neither timm nor torchvision, which take seconds, is imported."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=600,
        start_new_session=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["82 True", "left early []"]


CIFAR = Path(__file__).parents[2] / "shared/data/cifar10.tar.xz"


@pytest.mark.skipif(not CIFAR.exists(), reason=f"needs {CIFAR}: CIFAR-10 as <split>/<class>/*.jpg")
def test_real_images(tmp_path: Path) -> None:
    with tarfile.open(CIFAR) as archive:
        for number, member in enumerate(x for x in archive if x.isfile()):
            if number % 100 == 0:
                archive.extract(member, tmp_path, filter="data")
    root = next(tmp_path.rglob("train")).parent
    config = data(**FOLDER | {"classes": 10, "size": 64}, root=str(root))
    parts = splits(config)
    assert len(parts.train) + len(parts.validation) == 500
    assert len(parts.test) == 100
    images, labels = next(iter(epoch(config, parts, batch=64)))
    assert images.shape == (64, 3, 64, 64)
    assert len(labels.unique()) > 5


@settings(max_examples=20)
@given(wanted=st.integers(2, 30))
def test_a_number_of_images_is_a_fixed_choice_of_them(wanted: int) -> None:
    from sasa.data.build import choose

    chosen = choose(30, wanted, "train_images")
    assert len(set(chosen.tolist())) == wanted
    assert chosen.tolist() == choose(30, None, "train_images").tolist()[:wanted]


@pytest.mark.slow
def test_a_slow_disk_is_told_of_once_with_what_helps(pictures: Path, tmp_path: Path) -> None:
    """Each file takes 60 ms to open, which is a hundred times what its share of a step takes."""
    (tmp_path / "slow.py").write_text(
        "import sys, time; from sasa.data.readers import Files; from sasa.command import main; fast = Files.open; "
        "Files.open = lambda self, index: time.sleep(0.06) or fast(self, index); sys.exit(main())"
    )
    words = [*TINY, "scale.width=0.0625", "data=folder", "data.classes=4", "data.skip_broken=true"]
    words += ["data.workers=0", "data.train_images=null", "data.test_images=null"]
    command = [str(tmp_path / "slow.py"), "table5=none", *words, f"data.root={pictures}", f"output={tmp_path}"]
    done = end(begin(command, ROOT, fresh=False, SLURM_CPUS_PER_TASK="1"))
    assert done.code == 0, done.err
    (line,) = [line for line in done.out.splitlines() if "of the time" in line]
    said = re.fullmatch(r"table5=none  (\d+)% of the time goes into waiting for images\. What helps .*: (.*)", line)
    assert said
    assert int(said[1]) > 30
    assert said[2] == "data.workers=1, where it is 0 now, or a copy of the images on a disk of this machine"
    assert line.removeprefix("table5=none  ") in only(tmp_path, "**/run.log").read_text()
