"""The networks of Section 4.1: ResNets whose layer groups use convolution or attention."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from sasa.nn.attention import AttentionOptions
from sasa.nn.bottleneck import EXPANSION, Bottleneck
from sasa.nn.stem import build_stem

BLOCKS = {26: (1, 2, 4, 1), 38: (2, 3, 5, 2), 50: (3, 4, 6, 3)}
CONVOLUTION = ("convolution",) * 4
ATTENTION = ("attention",) * 4


class ResNet(nn.Module):
    """ResNet-26, -38 or -50: stem, four layer groups, global average pool, linear classifier.

    (B, in_chans, H, W) of any size -> logits (B, num_classes). With `groups` all convolution and the conv stem it is
    torchvision's ResNet (v1.5); `from_torchvision` renames its weights.
    """

    def __init__(
        self,
        depth: int = 50,
        groups: Sequence[str] = ATTENTION,
        stem: str = "conv",
        width: float = 1.0,
        mixtures: int = 4,
        options: AttentionOptions | None = None,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.drop_rate = drop_rate  # of the pooled features; the paper uses none
        options = options or AttentionOptions()
        widths = [round(base * width) for base in (64, 128, 256, 512)]
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = widths[-1] * EXPANSION
        self.feature_info: list[dict[str, Any]] = [{"num_chs": widths[0], "reduction": 4, "module": "stem"}]
        self.stem = build_stem(stem, in_chans, widths[0], mixtures, options)
        channels = widths[0]
        groups_of_blocks = []
        for index, (primitive, blocks, group_width) in enumerate(zip(groups, BLOCKS[depth], widths, strict=True), 1):
            stride = 1 if index == 1 else 2
            group = []
            for block in range(blocks):
                group.append(Bottleneck(channels, group_width, stride if block == 0 else 1, primitive, options))
                channels = group_width * EXPANSION
            groups_of_blocks.append(nn.Sequential(*group))
            self.feature_info.append({"num_chs": channels, "reduction": 2 ** (index + 1), "module": f"layer{index}"})
        self.layer1, self.layer2, self.layer3, self.layer4 = groups_of_blocks
        self.reset_classifier(num_classes, global_pool)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(
                    module.bn3.weight
                )  # blocks start as their shortcuts; without it deep attention starts slowly

    def forward_features(self, x: Tensor) -> Tensor:
        """The last layer group's map (B, num_features, H / 32, W / 32), rounded up."""
        x = self.stem(x)
        for group in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = group(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, num_classes) of a map, or with pre_logits the pooled features."""
        if self.global_pool == "avg":
            x = x.mean((2, 3))
        x = F.dropout(x, self.drop_rate, self.training)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """timm's name for the last layer."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str = "avg") -> None:
        """A new classifier; 0 classes leave the features, and global_pool "" leaves their map."""
        self.num_classes, self.global_pool = num_classes, global_pool
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()


def from_torchvision(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of torchvision's resnet50 under the names of our baseline."""
    return {(f"stem.{name}" if name.startswith(("conv1.", "bn1.")) else name): w for name, w in weights.items()}
