"""With data.validation=0 a run trains on every image and knows of no validation."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from test_data_loaders import data

from sasa import job
from sasa.config import compose
from sasa.config.identity import Identity
from sasa.data.build import splits
from sasa.errors import InputError
from sasa.records.folder import Record


@pytest.mark.parametrize("images", [1, 40])
def test_every_image_is_trained_on(images: int) -> None:
    parts = splits(data(validation=0.0, train_images=images))
    assert (parts.train.indices.tolist(), len(parts.validation)) == (list(range(images)), 0)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_fraction_that_is_none(fraction: float) -> None:
    with pytest.raises(InputError, match=r"data\.validation=.*: expected a fraction in \[0, 1\), .* 0 to hold out"):
        data(validation=fraction)


@pytest.mark.parametrize(("table", "row"), [("table3", "conv1"), ("table2", "conv_full")])
def test_a_run_ends_with_the_test_images_alone(table: str, row: str, tmp_path: Path) -> None:
    compose.register()
    config = compose.compose_row(
        [f"{table}={row}", "data.validation=0", "backbone=resnet26", "data.size=64", "data.train_images=32",
         "data.test_images=8", "train.epochs=2", "train.batch=8", "train.micro_batch=4", "train.warmup_epochs=0",
         "tracker=none", f"output={tmp_path}"],
    )  # fmt: skip
    terminal = StringIO()
    result, folder = job.run(Record(config, Identity(table, row, (), "python run.py")), Console(file=terminal))
    assert (result.status, list(result.accuracy)) == ("finished", ["test"])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(line["split"], line["step"]) for line in lines] == [("train", 4), ("train", 8)]
    assert "validation" not in terminal.getvalue() + (folder / "run.log").read_text()
    assert (folder / "samples.png").exists()
