"""Records of runs that never were, as a finished, running, failed or interrupted run leaves them."""

import base64
import io
import json
import math
import os
import random
import socket
from pathlib import Path
from typing import Any

from PIL import Image

from sasa.config.identity import SEMANTICS
from sasa.records.result import Costs, Run
from sasa.report.paper import BOXES, TABLES

LEVELS = {"demo": 0.62, "cifar10": 1.08, "imagenet": 1.0}  # our top-1 as a share of the paper's
STEPS = 60  # of an epoch
EPOCHS = {"demo": 8, "cifar10": 100, "imagenet": 130}
DATA = {"demo": "shapes", "cifar10": "cifar10", "imagenet": "imagenet"}


def png(side: int, pixels: bytes) -> bytes:
    """An RGB PNG of side x side pixels."""
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), pixels).save(file, "PNG")
    return file.getvalue()


def add_run(
    output: Path, table: str | None, row: str | None, *, scale: str = "demo", seed: int = 0, variant: str = "",
    status: str = "finished", top1: float = 50.0, done: float = 1.0, files: bool = False, **fields: Any,
) -> Path:  # fmt: skip
    """Writes one run's record below `output` and returns its folder."""
    chance = random.Random(f"{table}{row}{scale}{seed}{variant}")
    name = f"scale={scale},seed={seed}" + (f",{variant}" if variant else "")
    folder = output.joinpath(*([table, row] if table and row else ["run"]), name.replace("/", "_"))
    folder.mkdir(parents=True, exist_ok=True)
    published = next((one for one in TABLES[table].rows if one.name == row), None) if table in TABLES else None
    flops, params = (published.flops or 5.0, published.params or 18.0) if published else (7.0, 18.0)
    if table == "figure5" and published and published.params is None:
        width = int(published.name.rpartition("_")[2]) / 100
        params = width**2 * (25.6 if published.name.startswith("baseline") else 18.0)
    epochs, command = EPOCHS[scale], f"python run.py {table}={row} scale={scale} seed={seed} {variant}".strip()
    k = int(row[1:]) if row and table == "table4" and row[1:].isdigit() else 7
    config = {
        "backbone": {"depth": 50, "width": 1.0}, "extent": {"k": k}, "layers": {"groups": ["attention"] * 4},
        "position": {"encoding": row if table == "table5" else "relative"},
        "train": {"epochs": epochs, "lr": 0.003, "compile": False},
        "data": {"name": DATA[scale], "root": None, "classes": 8 if scale == "demo" else 1000}, "seed": seed,
    }  # fmt: skip
    finished = status == "finished"
    known = {
        "key": f"{chance.getrandbits(64):016x}", "semantics": SEMANTICS, "table": table, "row": row, "rows": [],
        "scale": scale, "seed": seed, "variant": variant, "command": command, "config": config,
        "defaults": {"extent.k": 7} if k != 7 else {"seed": 0} if seed else {}, "status": status, "data": DATA[scale],
        "images": {"train": 3840, "validation": 1000, "test": 1000},
        "epochs": epochs, "epochs_done": epochs if finished else int(epochs * done * 0.5), "steps_per_epoch": STEPS,
        "accuracy": {split: accuracy(table, top1) for split in ("validation", "test")} if finished else {},
        "costs": Costs(flops * 1.7e7, params * 6.3e4),
        "paper_costs": Costs(flops * 1e9 - 3e7, params * 1e6 + 4e4), "backend": "tiled", "device": "x86_64",
        "versions": {"torch": "2.15.0", "sasa": "0.1.0"}, "seconds": 41.2 if finished else None, "images_per_second": 812.0,
        "pid": os.getpid(), "host": socket.gethostname(),
        "started": f"2026-01-{1 + seed % 28:02d}T10:{chance.randrange(60):02d}:00+00:00",
    }  # fmt: skip
    run = Run(**known | fields)
    (folder / "config.json").write_text(json.dumps(run.configured()))
    (folder / "result.json").write_text(json.dumps(run.result()))
    write_metrics(folder, epochs, top1, done if not finished else 1.0, chance)
    if files:
        write_files(folder, chance)
    return folder


def accuracy(table: str | None, level: float) -> dict[str, float]:
    """What a run came to: a loss and top-1, or, in Table 2, AP and its kin, all of them different."""
    if table == "table2":
        return {name: level / 2 + 3 * index for index, name in enumerate(BOXES)}
    return {"loss": 1.1, "top1": level, "top5": min(99.0, level + 17)}


def write_metrics(
    folder: Path, epochs: int, top1: float, done: float, chance: random.Random, steps: int = STEPS
) -> None:
    """Curves that rise to top1."""
    lines = []
    for step in range(10, int(epochs * steps * done) + 1, 10):
        level = top1 * (1 - math.exp(-4 * step / (epochs * steps)))
        epoch = (step - 1) // steps + 1
        train = {"loss": 2.2 - level / 50 + chance.gauss(0, 0.03), "top1": level + chance.gauss(0, 1.5), "lr": 0.003}
        lines.append({"split": "train", "epoch": epoch, "step": step, **train})
        if step % steps == 0:
            held_out = {"loss": 2.3 - level / 50, "top1": level + chance.gauss(0, 0.7), "top5": min(99.0, level + 20)}
            lines.append({"split": "validation", "epoch": epoch, "step": step, **held_out})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_files(folder: Path, chance: random.Random, heads: int = 2) -> None:
    """costs.json, attention.json, the two pictures and the log."""
    layers = [{"name": "stem.conv1", "kind": "7x7 convolution, 3 to 16, stride 2", "flops": 4816896, "params": 2352}]
    for group in range(1, 5):
        for part, kind in (("conv1", "1x1 convolution, 16 to 16"), ("conv2", "7x7 attention, 2 heads, 16 to 16")):
            layers.append({"name": f"layer{group}.0.{part}", "kind": kind, "flops": 3e6 / group, "params": 900 * group})
    (folder / "costs.json").write_text(json.dumps({"layers": layers}))
    picture = png(16, bytes(chance.randrange(256) for _ in range(16 * 16 * 3)))
    weights = [[[[chance.randrange(900) for _ in range(49)] for _ in range(heads)] for _ in range(2)] for _ in range(2)]
    maps = [
        {"name": f"layer{n}.0.conv2", "extent": 7, "height": s, "width": s, "pixels": [[s // 2, s // 2], [0, s - 1]],
         "weights": weights} for n, s in ((1, 16), (2, 8))
    ]  # fmt: skip
    images = [{"title": f"image {n}", "png": base64.b64encode(picture).decode()} for n in range(2)]
    (folder / "attention.json").write_text(json.dumps({"unit": 10000, "images": images, "layers": maps}))
    for name in ("samples.png", "attention.png"):
        (folder / name).write_bytes(picture)
    (folder / "run.log").write_text("2026-01-01T10:00:00+00:00 finished\n")


def add_table(
    output: Path, name: str, *, scale: str = "demo", seeds: int = 3, noise: float = 0.3, **fields: Any
) -> None:
    """Every row of a table, with the paper's differences at this scale's level and noise over seeds."""
    for row in TABLES[name].rows:
        for seed in range(seeds):
            chance = random.Random(f"{name}{row.name}{scale}{seed}")
            level = (row.top1 or 2 * sum(row.boxes[:1]) or 75) * LEVELS[scale]
            add_run(
                output, name, row.name, scale=scale, seed=seed, top1=min(99, level + chance.gauss(0, noise)), **fields
            )


def add_many(output: Path, count: int) -> None:
    """`count` runs over all tables, scales and as many seeds as that takes, the files of finished runs with them."""
    rows = [(table.name, row) for table in TABLES.values() for row in table.rows]
    for number in range(count):
        (table, row), turn = rows[number % len(rows)], number // len(rows)
        scale, seed = ("demo", "cifar10", "imagenet")[turn % 3], turn // 3
        chance = random.Random(number)
        top1 = (row.top1 or 75) * LEVELS[scale] + chance.gauss(0, 0.3)
        add_run(output, table, row.name, scale=scale, seed=seed, top1=min(top1, 99), files=True)
