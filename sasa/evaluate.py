"""`python -m sasa.evaluate RUN data=... data.root=...`: a finished run on other images, or at another size; trains nothing."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from sasa import quick
from sasa.config import compose
from sasa.config.choices import TaskKind
from sasa.config.data import Data
from sasa.config.identity import hashed
from sasa.config.schema import Config
from sasa.errors import InputError
from sasa.records.files import now, read_json, write_atomically
from sasa.records.weights import WEIGHTS, find_weights

FILE = "evaluations.json"  # beside the run's weights, by what was evaluated: weights and images


def evaluate(config: Config, weights: Path, console: Console) -> dict[str, float | None]:
    """The measures of a run's weights on the test images of a configuration; says where their classes are named otherwise."""
    with quick.imports():  # these take seconds, which a mistyped command need not wait for
        import torch

        # and what imports it
        from sasa.data.build import Splits, eval_loader, open_test
        from sasa.models.build import network
        from sasa.train.classification import Classification
        from sasa.train.detection import Detection
        from sasa.train.device import taken_device
        from sasa.train.pretrained import load_trained

    detection = config.task.kind is TaskKind.detection
    samples = open_test(config.data, boxes=detection)
    parts = Splits(samples, samples, samples, samples.source.classes)
    if said := renamed((read_json(weights.with_name("classes.json")) or {}).get("names", []), parts.classes):
        console.print(f"[yellow]{escape(said)}[/]")
    with taken_device(config.device, Path(config.output)) as device:
        model = network(config).to(device).to(memory_format=torch.channels_last)
        load_trained(model, weights)
        task = Detection(config, parts) if detection else Classification(config, parts)
        loader = eval_loader(samples, config.data, batch=config.train.micro_batch, device=device)
        return dict(task.evaluate(model, loader, samples))


def renamed(learnt: Sequence[str], here: Sequence[str]) -> str:
    """Which classes of other images have other names than those of as many that a run learnt; "" where none has."""
    other = [pair for pair in zip(learnt, here, strict=False) if pair[0] != pair[1]]
    if not other:
        return ""
    (one, its), count = other[0], len(here)
    return (
        f"{len(other)} of {count} classes have other names than those that the run learnt: {its} is counted as right where it "
        f"finds {one}, and so on in their order. If they are others, give the folders the names of the run's classes.json"
    )


def configured(folder: Path, overrides: list[str], device: str, output: str) -> Config:
    """The run's configuration with other images; InputError unless the overrides are of data."""
    content = read_json(folder / "config.json")
    if content is None or "config" not in content:
        raise InputError(f"{folder} has no config.json of a run that can be read")
    config = compose.checked({**content["config"], "device": device, "output": output})
    return replace(config, data=compose.other_data(config, overrides))


def record(weights: Path, data: Data, accuracy: dict[str, float | None]) -> None:
    """Beside the run; the same weights on the same images at the same size take the place of what was there of them."""
    path = weights.with_name(FILE)
    known = read_json(path) or {}
    plain = {name: value for name, value in asdict(data).items() if name not in ("workers", "download")}
    of = "" if weights.name == WEIGHTS else weights.name
    entry = {"weights": weights.name, "data": plain, "accuracy": accuracy, "evaluated": now()}
    known[hashed(json.dumps(plain, sort_keys=True) + of)] = entry
    write_atomically(path, json.dumps(known, indent=2).encode())


def main(words: list[str] | None = None) -> int:
    """Evaluate, print and record; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sasa.evaluate", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "run", metavar="RUN", help="a finished run's folder, its row, as table1/full_50, or a file of its weights"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="data...", help="as for run.py: data=folder data.root=/v2 data.size=288"
    )
    parser.add_argument("--output", default="outputs", metavar="DIR", help="where the runs are (default: outputs)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    options = parser.parse_intermixed_args(words)
    console, complaints = (
        Console(highlight=False, soft_wrap=True),
        Console(stderr=True, highlight=False, soft_wrap=True),
    )
    try:
        compose.register()
        weights = find_weights(options.run, options.output)
        config = configured(weights.parent, options.overrides, options.device, options.output)
        accuracy = evaluate(config, weights, console)
        record(weights, config.data, accuracy)
    except (InputError, OSError, *compose.ERRORS) as error:
        complaints.print(f"[red]error[/]  {escape(str(error))}")
        return 2
    measures = "  ".join(f"{name} {'-' if value is None else f'{value:.2f}'}" for name, value in accuracy.items())
    console.print(f"{config.data.name}, {config.data.test_split}, {config.data.size} pixels: {measures}")
    console.print(f"{weights.with_name(FILE)}", style="dim")
    return 0


if __name__ == "__main__":
    sys.exit(main())
