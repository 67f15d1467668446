"""A real training run: run.py on CIFAR-10's images by the recipe of scale=cifar10_small, which results/ has from a CPU."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sasa.bench.gpu.runner import Tell
from sasa.bench.gpu.setting import Setting
from sasa.config.overrides import quoted
from sasa.protocol import RUN
from sasa.records.files import cores, load_json
from sasa.records.metrics import lines_by_split

ROW = "table1=conv_stem_50"
TINY = ("backbone=resnet26", "data.size=32", "train.epochs=1", "train.warmup_epochs=0", "data.workers=0")


def work(setting: Setting, tell: Tell) -> None:
    """Epochs as they end, then the run's result."""
    assert setting.images
    with tempfile.TemporaryDirectory() as folder:
        words = [ROW, "scale=cifar10_small", "data.reader=folder", f"data.root={quoted(setting.images.absolute())}"]
        words += [f"data.classes={len(classes(setting.images))}", f"data.workers={min(8, cores())}"]
        words += [f"device={setting.device}", "tracker=none", f"output={folder}", *(TINY if setting.small else ())]
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, "-c", RUN.format(waits=True), *words])
        told = 0
        while True:
            ended = process.poll() is not None
            files = Path(folder).glob("**/metrics.jsonl")
            lines = [x for file in files for x in lines_by_split(file.read_bytes()).get("validation", [])]
            for line in lines[told:]:
                tell({"table": "training", "seconds": time.monotonic() - began, **json.loads(line)})
            told = len(lines)
            if ended:
                break
            time.sleep(0.5)
        if process.returncode:
            raise RuntimeError(f"run.py ended with {process.returncode}")
        for file in Path(folder).glob("**/result.json"):
            run = load_json(file)
            named = {"split": "test", "epoch": run["epochs_done"], "images_a_second": run["images_per_second"]}
            tell(
                {
                    "table": "training",
                    "seconds": time.monotonic() - began,
                    **named,
                    **run["accuracy"]["test"],
                    "run": run,
                }
            )


def classes(images: Path) -> list[Path]:
    """The classes' folders of training images; none where test images are missing."""
    folders = [[x for x in (images / split).glob("*") if x.is_dir()] for split in ("train", "test")]
    return folders[0] if folders[1] else []
