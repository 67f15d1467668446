"""Weights of a finished run, or of a file of torchvision's or timm's, to start from."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sasa.config.choices import TaskKind
from sasa.config.schema import Config
from sasa.errors import InputError
from sasa.models.resnet import from_torchvision
from sasa.records.files import read_json
from sasa.records.weights import of_run, other_backbone, weights_of

CLASSIFIER = ("fc.weight", "fc.bias")
REMEDY = "Give the weights of this backbone, choose the row that they are of, or set backbone.weights=null"


def load_weights(model: nn.Module, config: Config) -> str:
    """Load what backbone.weights names into a network, or into a detector's backbone; returns the file's name.

    A classifier of other classes starts anew. InputError where the file is of another network.
    """
    path = weights_of(config)
    weights = read_file(path)
    if of_run(path):
        made_by = (read_json(path.with_name("config.json")) or {}).get("config") or {}
        if changes := other_backbone(made_by, config):
            raise InputError(
                f"backbone.weights={config.backbone.weights} is of another network ({', '.join(changes)}). {REMEDY}"
            )
    else:
        weights = from_torchvision(weights)
    detection = config.task.kind is TaskKind.detection
    body = model.get_submodule("backbone.body") if detection else model
    ours = body.state_dict()
    left = CLASSIFIER if detection or shape(weights, CLASSIFIER[0]) != shape(ours, CLASSIFIER[0]) else ()
    wanted, given = ({name: one[name] for name in one if name not in left} for one in (ours, weights))
    check_shapes(given, wanted, f"backbone.weights={config.backbone.weights}", REMEDY)
    body.load_state_dict(given, strict=False)
    return str(path)


def load_trained(model: nn.Module, path: Path) -> None:
    """Load all of a finished run's weights; InputError where the file is of another network, or spoiled."""
    weights, remedy = read_file(path), "Put back the file that this run wrote"
    spoiled = next((name for name, value in weights.items() if not value.isfinite().all()), None)
    if spoiled:
        raise InputError(f"{path}: {spoiled} is not finite. {remedy}")
    check_shapes(weights, model.state_dict(), str(path), remedy)
    model.load_state_dict(weights)


def check_shapes(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str, remedy: str) -> None:
    """InputError unless weights have a network's names and shapes."""
    wrong = [name for name in sorted({*wanted, *given}) if shape(wanted, name) != shape(given, name)]
    if wrong:
        name = wrong[0]
        raise InputError(
            f"{source} is of another network: {len(wrong)} of its weights do not fit, "
            f"such as {name}, which is {shape(given, name)} there and {shape(wanted, name)} here. {remedy}"
        )


def read_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a file such as torchvision's resnet50-*.pth or timm's model.safetensors."""
    try:
        safe = path.suffix == ".safetensors"
        weights = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is none
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path} cannot be read as weights ({reason}): give a finished run's, torchvision's or timm's file"
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f"{path} holds no tensors by name: give a finished run, or torchvision's or timm's file")
    return weights


def shape(weights: Mapping[str, Tensor], name: str) -> str:
    """The shape of a weight, or that it is missing."""
    return "x".join(map(str, weights[name].shape)) or "a number" if name in weights else "missing"
