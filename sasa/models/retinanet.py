"""RetinaNet of Section 4.2: torchvision's, around our backbones, with convolution or attention in FPN and heads."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import (
    RetinaNetClassificationHead,
    RetinaNetHead,
    RetinaNetRegressionHead,
)
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from sasa.models.resnet import ResNet
from sasa.nn.attention import AttentionOptions, LocalAttention
from sasa.nn.bottleneck import spatial

STRIDES = (8, 16, 32, 64, 128)  # of the pyramid's levels P3 to P7
OCTAVES = (1.0, 2**0.5)  # sizes of the anchors of a level; with three ratios, 6 anchors a location
RATIOS = (0.5, 1.0, 2.0)
ANCHORS = len(OCTAVES) * len(RATIOS)
DETECTIONS = 100  # an image, as COCO's evaluation counts them
PRIOR = 0.01  # probability of every class at the start (the focal loss's)
BETA = 1 / 9  # where smooth L1 turns from squares to absolute values
STD = 0.01  # of the heads' weights at the start; in attention of W_V
SHARPNESS = 8.0  # of attention in FPN and heads at the start: their r come from N(0, (8 / sqrt(head size))^2)


def retinanet(
    backbone: ResNet, primitive: str, channels: int, classes: int, size: int, anchor: float, options: AttentionOptions
) -> RetinaNet:
    """RetinaNet for normalised size x size images: in training losses by name, else boxes, labels and scores an image.

    primitive says what every 3x3 of FPN and heads is; anchor is the side of a level's smallest anchor over its stride.
    """
    levels = backbone.feature_info[2:]
    pyramid = BackboneWithFPN(
        backbone,
        {level["module"]: level["module"] for level in levels},
        [level["num_chs"] for level in levels],
        channels,
        extra_blocks=LastLevelP6P7(channels, channels),
    )
    head = RetinaNetHead(channels, ANCHORS, classes)
    head.classification_head = ClassHead(channels, ANCHORS, classes, prior_probability=PRIOR, norm_layer=group_norm)
    head.regression_head = BoxHead(channels, ANCHORS, norm_layer=group_norm)
    if primitive == "attention":
        attend(pyramid, head, channels, classes, options)
    sizes = tuple(tuple(anchor * stride * octave for octave in OCTAVES) for stride in STRIDES)
    return RetinaNet(
        pyramid,
        classes,
        min_size=size,
        max_size=size,
        image_mean=[0.0, 0.0, 0.0],  # the images come normalised and of one size
        image_std=[1.0, 1.0, 1.0],
        anchor_generator=Anchors(sizes, (RATIOS,) * len(sizes)),
        head=head,
        detections_per_img=DETECTIONS,
        _skip_resize=True,
    )


def attend(
    pyramid: BackboneWithFPN, head: RetinaNetHead, channels: int, classes: int, options: AttentionOptions
) -> None:
    """Put attention in the place of every 3x3 convolution of FPN and heads.

    A pointwise convolution that mixes the attention heads stands at the end of the class and of the box tower, and after
    each attention layer of the FPN. (The text has those of the towers; the FLOPs fit best with those of the FPN, too.)
    """
    fpn = pyramid.fpn
    for index in range(len(fpn.layer_blocks)):
        fpn.layer_blocks[index] = mixed(channels, 1, options)
    fpn.extra_blocks.p6, fpn.extra_blocks.p7 = mixed(channels, 2, options), mixed(channels, 2, options)
    for part, name, outputs, bias in (
        (head.classification_head, "cls_logits", ANCHORS * classes, -math.log((1 - PRIOR) / PRIOR)),
        (head.regression_head, "bbox_reg", ANCHORS * 4, 0.0),
    ):
        tower = [nn.Sequential(head_layer(channels, options), nn.ReLU(inplace=True)) for _ in range(4)]
        part.conv = nn.Sequential(*tower, nn.Conv2d(channels, channels, 1), nn.ReLU(inplace=True))
        prediction = nn.Conv2d(channels, outputs, 1)
        nn.init.normal_(prediction.weight, std=STD)
        nn.init.constant_(prediction.bias, bias)  # type: ignore[arg-type]
        setattr(part, name, nn.Sequential(head_layer(channels, options), prediction))


def mixed(channels: int, stride: int, options: AttentionOptions) -> nn.Sequential:
    """A layer of the FPN: attention, where the convolution strides a 2x2 average pool, and a pointwise convolution."""
    layer = nn.Sequential(spatial("attention", channels, channels, stride, options), nn.Conv2d(channels, channels, 1))
    sharpen(layer)
    return layer


def head_layer(channels: int, options: AttentionOptions) -> nn.Sequential:
    """A layer of a head: attention whose W_V starts from a normal distribution of standard deviation 0.01, and its norm."""
    layer = LocalAttention(channels, channels, options)
    nn.init.normal_(layer.value.weight, std=STD)
    sharpen(layer)
    return nn.Sequential(layer, group_norm(channels))


def sharpen(module: nn.Module) -> None:
    """Embeddings that let each pixel start by looking at a few others.

    With r from N(0, 1) it takes nearly the mean of its neighbourhood. The backbone has shortcuts past such a blur; in
    layer after layer of FPN and heads, which have none, it leaves too little of where things are to learn from.
    """
    for layer in module.modules():
        if isinstance(layer, LocalAttention) and layer.row is not None and layer.column is not None:
            std = SHARPNESS / math.sqrt(2 * layer.row.shape[-1])
            nn.init.normal_(layer.row, std=std)
            nn.init.normal_(layer.column, std=std)


def group_norm(channels: int) -> nn.GroupNorm:
    """The norm of the heads' layers, torchvision's for its second RetinaNet.

    The paper does not speak of it. Without one, W_V of this size leaves so little signal after a few layers that the
    logits of the next ones are near zero and the gradients of all of them vanish.
    """
    groups = math.gcd(32, channels)
    if groups == channels:  # of a map of one pixel a channel alone is always its own mean
        groups = max(1, groups // 2)
    return nn.GroupNorm(groups, channels)


class ClassHead(RetinaNetClassificationHead):
    """torchvision's class head; its logits are float32, so that the losses are, too."""

    _load_from_state_dict = nn.Module._load_from_state_dict  # torchvision's takes ours for its first heads'

    def forward(self, x: list[Tensor]) -> Tensor:
        return super().forward(x).float()


class BoxHead(RetinaNetRegressionHead):
    """torchvision's box head with float32 outputs and RetinaNet's smooth L1 (torchvision's is plain L1)."""

    _load_from_state_dict = nn.Module._load_from_state_dict

    def forward(self, x: list[Tensor]) -> Tensor:
        return super().forward(x).float()

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: Mapping[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> Tensor:
        losses = []
        for target, output, boxes, matched in zip(
            targets, head_outputs["bbox_regression"], anchors, matched_idxs, strict=True
        ):
            positive = torch.where(matched >= 0)[0]
            wanted = self.box_coder.encode_single(target["boxes"][matched[positive]], boxes[positive])
            loss = F.smooth_l1_loss(output[positive], wanted, reduction="sum", beta=BETA)
            losses.append(loss / max(1, len(positive)))
        return torch.stack(losses).mean()


class Anchors(AnchorGenerator):
    """torchvision's anchors, in float32 whatever the maps are in: bfloat16 has too few digits for pixels."""

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        zero = torch.zeros((), device=feature_maps[0].device)
        return super().forward(image_list, [zero.expand(x.shape) for x in feature_maps])
