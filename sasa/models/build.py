"""Config -> network; the only file of sasa.models that knows the configuration."""

from dataclasses import replace

from torch import nn
from torchvision.models.detection import RetinaNet

from sasa.config.choices import Primitive, TaskKind
from sasa.config.schema import Config
from sasa.models.resnet import ResNet
from sasa.models.retinanet import retinanet
from sasa.nn.attention import AttentionOptions, check_heads


def attention_options(config: Config) -> AttentionOptions:
    """The attention layers that a configuration describes."""
    return AttentionOptions(
        extent=config.extent.k,
        heads=config.attention.heads,
        stem_heads=config.attention.stem_heads,
        position=config.position.encoding,
        logits=config.logits.terms,
        border=config.attention.border,
        scaled=config.attention.scaled,
        backend=config.kernel.backend,
    )


def classifier(config: Config) -> ResNet:
    """The ResNet that a configuration describes, on torch's default device; InputError where its parts do not fit."""
    return ResNet(
        depth=config.backbone.depth,
        groups=config.layers.groups,
        stem=config.stem.kind,
        width=config.backbone.width * config.scale.width,
        mixtures=config.stem.mixtures,
        options=attention_options(config),
        num_classes=config.data.classes,
    )


def detector(config: Config) -> RetinaNet:
    """The RetinaNet that a configuration describes, on torch's default device; InputError where its parts do not fit."""
    channels = round(config.detector.channels * config.scale.width)
    if config.detector.primitive is Primitive.attention:
        check_heads(channels, config.detector.attention_heads, config.position.encoding, "detector.channels")
    return retinanet(
        backbone=classifier(config),
        primitive=config.detector.primitive,
        channels=channels,
        classes=config.data.classes,
        size=config.data.size,
        anchor=config.detector.anchor,
        options=replace(attention_options(config), heads=config.detector.attention_heads),
    )


def network(config: Config) -> nn.Module:
    """The network of the configuration's task."""
    return detector(config) if config.task.kind is TaskKind.detection else classifier(config)


def set_bn_decay(model: nn.Module, decay: float) -> None:
    """Batch norm's running statistics become decay * running + (1 - decay) * batch."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1 - decay
