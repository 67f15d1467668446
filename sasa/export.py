"""`python -m sasa.export RUN --to FOLDER`: a finished run's weights for timm, or a detector's for torchvision.

They are the evaluated ones, or those of a file of the run's that is named, such as its best.safetensors.

The folder holds model.safetensors and config.json, as timm writes them. After `import sasa.models.zoo`,
`timm.create_model("local-dir:FOLDER", pretrained=True)` is the run's classifier; `sasa.export.detector("FOLDER")` is its
detector.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from safetensors.torch import load_file
from timm import create_model
from timm.models import save_for_hf
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from sasa.config import compose
from sasa.config.choices import TaskKind
from sasa.config.schema import Config
from sasa.errors import InputError
from sasa.evaluate import configured
from sasa.models import build, zoo
from sasa.records.files import read_json, write_atomically
from sasa.records.result import Run, read_result
from sasa.records.weights import WEIGHTS, find_weights
from sasa.train.checkpoint import save_weights
from sasa.train.pretrained import load_trained

RETINANET = "sasa_retinanet"  # the architecture that config.json names for a detector


def export(weights: Path, folder: Path) -> str:
    """Write a finished run's weights; returns the line of Python that loads them."""
    if (folder / "result.json").exists():
        raise InputError(f"--to {folder} is the folder of a run: give another one")
    config = configured(weights.parent, [], "cpu", "outputs")
    run = read_result(weights.parent)
    facts = {"sasa": {"weights": weights.name, **(facts_of(run) if run else {})}}
    if weights.name != WEIGHTS:  # the run's accuracy is not theirs
        facts["sasa"].pop("accuracy", None)
    if config.task.kind is TaskKind.detection:
        network = build.detector(config)
        load_trained(network, weights)
        folder.mkdir(parents=True, exist_ok=True)
        save_weights(folder / "model.safetensors", network)
        content = {"architecture": RETINANET, **facts, "config": asdict(config)}
        write_atomically(folder / "config.json", json.dumps(content, indent=2).encode())
        return f"from sasa.export import detector; network = detector({str(folder)!r})"
    network = create_model(architecture(config), **arguments(config), pretrained_cfg_overlay=data_config(config))
    load_trained(network, weights)
    save_for_hf(network, str(folder), model_config=facts, model_args=arguments(config), safe_serialization=True)
    return f"import sasa.models.zoo, timm; network = timm.create_model({f'local-dir:{folder}'!r}, pretrained=True)"


def facts_of(run: Run) -> dict[str, Any]:
    """What the weights are of, for people."""
    names = ("table", "row", "scale", "seed", "variant", "data", "epochs", "accuracy", "commit", "key")
    return {name: getattr(run, name) for name in names}


def architecture(config: Config) -> str:
    """The timm name that is nearest to a configuration."""
    ending = "_conv_stem" if config.stem.kind == zoo.STEMS["_conv_stem"] else ""
    return f"sasa{config.backbone.depth}{ending}"


def arguments(config: Config) -> dict[str, Any]:
    """All that makes its network of that name."""
    attention = asdict(build.attention_options(config))
    del attention["backend"]  # of the machine
    return {
        "groups": list(config.layers.groups),
        "stem": config.stem.kind,
        "width": config.backbone.width * config.scale.width,
        "mixtures": config.stem.mixtures,
        "num_classes": config.data.classes,
        **attention,
    }


def data_config(config: Config) -> dict[str, Any]:
    """What timm's loaders ask a network for."""
    data, side = config.data, -(-config.data.size // 32)
    return {
        "input_size": (3, data.size, data.size),
        "pool_size": (side, side),
        "crop_pct": data.crop,
        "mean": tuple(data.mean),
        "std": tuple(data.std),
        "num_classes": data.classes,
        "first_conv": zoo.FIRST_CONV.get(config.stem.kind),
    }


def detector(folder: str | Path) -> RetinaNet:
    """A written detector as torchvision has them: in evaluation images in [0, 1] of any size -> boxes in their own pixels.

    Classes are numbered from 0. InputError for a folder that is none of a detector.
    """
    content = read_json(Path(folder) / "config.json") or {}
    if content.get("architecture") != RETINANET:
        raise InputError(f"{folder} holds no detector: python -m sasa.export writes one of a finished run of table2")
    config = compose.checked(content["config"])
    network = build.detector(replace(config, backbone=replace(config.backbone, weights=None)))
    network.load_state_dict(load_file(Path(folder) / "model.safetensors"))
    size, mean, std = config.data.size, list(config.data.mean), list(config.data.std)
    network.transform = GeneralizedRCNNTransform(size, size, mean, std)
    return network.eval()


def main(words: list[str] | None = None) -> int:
    """Write, and print how to load; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m sasa.export",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run", metavar="RUN", help="a finished run's folder, its row, as table1/full_50, or a file of its weights"
    )
    parser.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="where to write")
    parser.add_argument("--output", default="outputs", metavar="DIR", help="where the runs are (default: outputs)")
    options = parser.parse_args(words)
    plain: dict[str, Any] = {"highlight": False, "soft_wrap": True}
    try:
        compose.register()
        line = export(find_weights(options.run, options.output), options.to)
    except (InputError, OSError, *compose.ERRORS) as error:
        Console(stderr=True, **plain).print(f"[red]error[/]  {escape(str(error))}")
        return 2
    Console(**plain).print(
        f"{escape(str(options.to))} holds model.safetensors and config.json. In Python:\n  {escape(line)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
