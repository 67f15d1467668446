"""The real command line in subprocesses, and a small image folder for it to train on."""

import gc
import math
import os
import random
import subprocess
import sys
from collections.abc import Generator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, one on each core; torch reads it

import numpy as np
import pytest
import torch
from forks import ROOT, Fork, Forks
from hypothesis import HealthCheck, settings
from PIL import Image

from sasa import quick
from sasa.config import compose
from sasa.config.schema import Config
from sasa.records import files

CPU_MINUTES = {"": 10, "not slow": 3}  # by the value of -m
WAITING = {"": 3, "not slow": 0}  # minutes of the clock in which nothing computes, most of them for Slurm
# The same examples each time; any others by --hypothesis-profile=default.
settings.register_profile("sasa", deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
settings.load_profile("sasa")
LONGEST = 2  # minutes of the clock that one test takes
TINY = (
    "backbone=resnet26",
    "data.size=32",
    "data.train_images=64",
    "data.test_images=32",
    "train.epochs=1",
    "train.batch=16",
    "train.micro_batch=16",
    "train.warmup_epochs=0",
    "train.log_steps=2",
    "tracker=none",
)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """How long the whole suite or its quick part takes here: CPU time over the cores.

    As measured on an EPYC of two cores; a Xeon of 2.6 GHz takes a fifth more.
    """
    minutes = CPU_MINUTES.get(config.option.markexpr)
    if minutes is None or config.option.keyword or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return []
    cores = files.cores()
    expected = max(LONGEST, math.ceil(minutes / cores)) + WAITING[config.option.markexpr]
    return [
        f"expected: about {expected} minutes ({minutes} of CPU on {cores} cores), more with other programs beside it"
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first, so that no worker is left with them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """No garbage is looked for while tests are imported, nor later in what they have imported."""
    with quick.imports():
        found = yield
    gc.freeze()
    return found


def pytest_runtest_setup() -> None:
    """Random numbers do not depend on which tests came before on this worker."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@dataclass
class Ended:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def environment(**extra: str) -> dict[str, str]:
    """One thread, so that runs are alike, and nobody's W&B account."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    return kept | {"OMP_NUM_THREADS": "1", "COLUMNS": "100", **extra}


forks = Forks()


def pytest_unconfigure() -> None:
    """Nothing is left running."""
    forks.close()
    gc.unfreeze()  # or nanobind takes for leaks what it finds at the end


def begin(words: Sequence[str], cwd: Path, fresh: bool, **extra: str) -> subprocess.Popen[str] | Fork:
    """`python WORDS` in the background; fresh: in an interpreter of its own."""
    variables = environment(PYTHONPATH=str(ROOT), **extra)
    if not fresh:
        return forks.start(words, cwd, variables)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *words], cwd=cwd, env=variables, text=True, **pipes)


def start(*overrides: str, fresh: bool = False, **extra: str) -> subprocess.Popen[str] | Fork:
    """`python run.py` in the background; fresh where what it starts is to find an interpreter of its own."""
    return begin([str(ROOT / "run.py"), *overrides], ROOT, fresh, **extra)


def end(process: subprocess.Popen[str] | Fork) -> Ended:
    """Wait for a command."""
    out, err = process.communicate(timeout=900)
    assert process.returncode is not None
    return Ended(process.returncode, out, err)


def call(*overrides: str, cwd: Path = ROOT, fresh: bool = False, **extra: str) -> Ended:
    """`python run.py` to its end."""
    return end(begin([str(ROOT / "run.py"), *overrides], cwd, fresh, **extra))


def stopped(number: str, method: str, count: int, *overrides: str, fresh: bool = False) -> Ended:
    """The same, which sends itself a signal before such a call of a method of Trainer: signalled.py."""
    return end(begin([str(ROOT / "tests" / "signalled.py"), number, method, str(count), *overrides], ROOT, fresh))


def module(name: str, *words: object, cwd: Path = ROOT) -> Ended:
    """`python -m name` to its end."""
    return end(begin(["-m", name, *map(str, words)], cwd, fresh=False))


def call_fresh(*overrides: str, options: Sequence[str] = ()) -> Ended:
    """`python run.py` to its end in an interpreter of its own, with options of Python's."""
    return end(begin([*options, str(ROOT / "run.py"), *overrides], ROOT, fresh=True))


def only(output: Path, pattern: str = "**/result.json") -> Path:
    """The one file below an outputs folder that matches."""
    (path,) = output.glob(pattern)
    return path


@cache
def composed_once(words: tuple[str, ...]) -> Config:
    return compose.compose_row(words)


def composed(*words: str) -> Config:
    """compose_row, which takes an eighth of a second, but once for the same words beside output and data.root, plain paths."""
    places = {
        name: path for name, _, path in (word.partition("=") for word in words) if name in ("output", "data.root")
    }
    config = deepcopy(composed_once(tuple(word for word in words if word.partition("=")[0] not in places)))
    config.output = places.get("output", config.output)
    config.data.root = places.get("data.root", config.data.root)
    return config


def make_images(root: Path, train: int, test: int, classes: Sequence[str]) -> Path:
    """Noise in folders root/{train,test}/class/, so many images a class."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 255, (40, 36, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of 40 training images, of which one is broken, and 4 test images."""
    root = make_images(tmp_path_factory.mktemp("pictures") / "set", 40, 4, ("ant", "bee", "cat", "dog"))
    broken = root / "train" / "bee" / "7.png"
    broken.write_bytes(broken.read_bytes()[:200])
    return root


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """The outputs folder of one finished run of table1=conv_stem_26 with TINY, and what it printed. Copy it to change it."""
    output = tmp_path_factory.mktemp("trained") / "out puts"
    return output, call("table1=conv_stem_26", *TINY[1:], f"output={output}")
