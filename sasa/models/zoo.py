"""The paper's networks under timm's names: `import sasa.models.zoo`, then `timm.create_model("sasa50")`.

sasa26, sasa38, sasa50                             full attention, spatially-aware stem
sasa26_conv_stem, sasa38_conv_stem, ...            attention behind a convolution stem
"""

from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models._registry import generate_default_cfgs

from sasa.models.resnet import ResNet
from sasa.nn.attention import AttentionOptions

CONFIG = {
    "num_classes": 1000,
    "input_size": (3, 224, 224),
    "pool_size": (7, 7),
    "crop_pct": 0.875,
    "interpolation": "bicubic",
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "first_conv": "stem.conv1",
    "classifier": "fc",
    "fixed_input_size": False,
}
FULL = {"first_conv": ("stem.query", "stem.key", "stem.value.project")}
default_cfgs = generate_default_cfgs(
    {f"sasa{depth}": CONFIG | FULL for depth in (26, 38, 50)} | {f"sasa{depth}_conv_stem": CONFIG for depth in (26, 38, 50)}
)


def build(variant: str, pretrained: bool, depth: int, stem: str, arguments: dict[str, Any]) -> ResNet:
    """timm's builder: `extent`, `heads` and the other fields of AttentionOptions are arguments too."""
    names = AttentionOptions.__dataclass_fields__
    options = {name: arguments.pop(name) for name in list(arguments) if name in names}
    arguments = {"depth": depth, "stem": stem, "options": AttentionOptions(**options)} | arguments
    return build_model_with_cfg(ResNet, variant, pretrained, feature_cfg={"flatten_sequential": False}, **arguments)


@register_model
def sasa26(pretrained: bool = False, **arguments: Any) -> ResNet:
    """Full attention, ResNet-26."""
    return build("sasa26", pretrained, 26, "attention_spatial_values", arguments)


@register_model
def sasa38(pretrained: bool = False, **arguments: Any) -> ResNet:
    """Full attention, ResNet-38."""
    return build("sasa38", pretrained, 38, "attention_spatial_values", arguments)


@register_model
def sasa50(pretrained: bool = False, **arguments: Any) -> ResNet:
    """Full attention, ResNet-50."""
    return build("sasa50", pretrained, 50, "attention_spatial_values", arguments)


@register_model
def sasa26_conv_stem(pretrained: bool = False, **arguments: Any) -> ResNet:
    """Attention behind a convolution stem, ResNet-26."""
    return build("sasa26_conv_stem", pretrained, 26, "conv", arguments)


@register_model
def sasa38_conv_stem(pretrained: bool = False, **arguments: Any) -> ResNet:
    """Attention behind a convolution stem, ResNet-38."""
    return build("sasa38_conv_stem", pretrained, 38, "conv", arguments)


@register_model
def sasa50_conv_stem(pretrained: bool = False, **arguments: Any) -> ResNet:
    """Attention behind a convolution stem, ResNet-50."""
    return build("sasa50_conv_stem", pretrained, 50, "conv", arguments)
