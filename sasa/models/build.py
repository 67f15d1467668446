"""Config -> network; the only file of sasa.models that knows the configuration."""

from sasa.config.schema import Config
from sasa.models.resnet import ResNet
from sasa.nn.attention import AttentionOptions


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


def set_bn_decay(model: ResNet, decay: float) -> None:
    """Batch norm's running statistics become decay * running + (1 - decay) * batch."""
    import torch.nn as nn

    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1 - decay
