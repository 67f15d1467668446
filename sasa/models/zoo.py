"""The paper's networks under timm's names: `import sasa.models.zoo`, then `timm.create_model("sasa50")`.

sasa26, sasa38, sasa50                             full attention, spatially-aware stem
sasa26_conv_stem, sasa38_conv_stem, ...            attention behind a convolution stem

No weights are published: pretrained=True needs a run's, written by `python -m sasa.export`.
"""

from contextlib import nullcontext
from typing import Any

import torch
from timm.models import (
    adapt_input_conv,
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
    register_notrace_module,
)
from torch import Tensor

from sasa.config import PROGRAM
from sasa.errors import InputError
from sasa.models.resnet import BLOCKS, ResNet
from sasa.nn.attention import AttentionOptions, LocalAttention
from sasa.nn.bottleneck import Pointwise
from sasa.nn.norm import BatchNorm
from sasa.nn.stem import AttentionStem

STEMS = {"": "attention_spatial_values", "_conv_stem": "conv"}
CONFIG: dict[str, Any] = {
    "num_classes": 1000,
    "input_size": (3, 224, 224),
    "pool_size": (7, 7),
    "crop_pct": 0.875,
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "classifier": "fc",
    "paper_name": "Stand-Alone Self-Attention in Vision Models",
    "paper_ids": "arXiv:1906.05909",
    "fixed_input_size": False,
}
FIRST_CONV = {"conv": "stem.conv1"}  # by stem, where it is one: timm fits its weights to other channels
SEEING = ("stem.query", "stem.key", "stem.value.project", "stem.value.conv")  # layers of the others that see the image
default_cfgs = generate_default_cfgs(
    {
        f"sasa{depth}{end}": CONFIG | {"first_conv": FIRST_CONV.get(stem)}
        for depth in BLOCKS
        for end, stem in STEMS.items()
    }
)


def fit_channels(state: dict[str, Tensor], network: ResNet) -> dict[str, Tensor]:
    """The same weights for images of the network's channels: an attention stem's are fitted as timm does a convolution's."""
    fitted = dict(state)
    for name in (f"{layer}.weight" for layer in SEEING):
        if name in state and state[name].shape[1] != network.in_chans:
            weight = state[name]
            pixels = weight.reshape(*weight.shape, *[1] * (4 - weight.ndim))  # linear layers are 1x1 convolutions
            adapted = adapt_input_conv(network.in_chans, pixels, weight.shape[1])
            fitted[name] = adapted.reshape(len(weight), network.in_chans, *weight.shape[2:])
    return fitted


def register(depth: int, ending: str) -> None:
    """Register one network; `extent`, `heads` and the other fields of AttentionOptions are arguments of it too."""
    name = f"sasa{depth}{ending}"

    def create(pretrained: bool = False, **arguments: Any) -> ResNet:
        if pretrained and not (arguments.get("pretrained_cfg") or arguments.get("pretrained_cfg_overlay")):
            raise InputError(
                f"{name} has no published weights: train them, as in {PROGRAM} table1=full_{depth}, write them with "
                "python -m sasa.export, and load them with timm.create_model('local-dir:FOLDER', pretrained=True)"
            )
        fields = AttentionOptions.__dataclass_fields__
        options = AttentionOptions(**{field: arguments.pop(field) for field in list(arguments) if field in fields})
        device, dtype = arguments.pop("device", None), arguments.pop("dtype", None)
        whole: dict[str, Any] = {"depth": depth, "stem": STEMS[ending], "options": options, **arguments}
        with nullcontext() if device is None else torch.device(device):
            whole |= {"feature_cfg": {"flatten_sequential": False}, "pretrained_filter_fn": fit_channels}
            return build_model_with_cfg(ResNet, name, pretrained, **whole).to(dtype=dtype)

    create.__name__ = name
    register_model(create)


for layer in (LocalAttention, AttentionStem, Pointwise, BatchNorm):
    register_notrace_module(layer)  # torch.fx, which timm may take features by, passes over them
for depth in BLOCKS:
    for ending in STEMS:
        register(depth, ending)
