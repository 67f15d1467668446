"""The networks of Section 4.1: ResNets whose layer groups use convolution or attention, with what timm asks of a model."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import torch.nn.functional as F
from timm.layers import SelectAdaptivePool2d, calculate_drop_path_rates, create_classifier
from timm.models import checkpoint_seq
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from sasa.errors import InputError
from sasa.nn.attention import AttentionOptions
from sasa.nn.bottleneck import EXPANSION, Bottleneck
from sasa.nn.stem import build_stem

BLOCKS = {26: (1, 2, 4, 1), 38: (2, 3, 5, 2), 50: (3, 4, 6, 3)}
CONVOLUTION = ("convolution",) * 4
ATTENTION = ("attention",) * 4
GROUPS = ("layer1", "layer2", "layer3", "layer4")
EMBEDDINGS = ("row", "column", "nu")  # parameters that are positions', by the last part of their names


class ResNet(nn.Module):
    """ResNet-26, -38 or -50: stem, four layer groups, global average pool, linear classifier.

    (B, in_chans, H, W) of any size -> logits (B, num_classes). drop_rate is of the pooled features, drop_path_rate of the
    last block's branch (the first one's is 0); the paper uses neither. global_pool is one of timm's pools, such as avg or
    catavgmax, or "" for none, and num_classes 0 leaves the features. With `groups` all convolution and the conv stem it is
    torchvision's ResNet (v1.5); `from_torchvision` renames its weights.
    """

    global_pool: SelectAdaptivePool2d

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
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_chans, self.drop_rate, self.grad_checkpointing = in_chans, drop_rate, False
        options = options or AttentionOptions()
        widths = [round(base * width) for base in (64, 128, 256, 512)]
        self.num_features = widths[-1] * EXPANSION
        self.feature_info: list[dict[str, Any]] = [{"num_chs": widths[0], "reduction": 4, "module": "stem"}]
        self.stem = build_stem(stem, in_chans, widths[0], mixtures, options)
        channels = widths[0]
        drop_paths: Iterator[Any] = iter(calculate_drop_path_rates(drop_path_rate, sum(BLOCKS[depth])))
        for index, (primitive, blocks, group_width) in enumerate(zip(groups, BLOCKS[depth], widths, strict=True), 1):
            stride = 1 if index == 1 else 2
            group = []
            for block in range(blocks):
                first = stride if block == 0 else 1
                group.append(Bottleneck(channels, group_width, first, primitive, options, next(drop_paths)))
                channels = group_width * EXPANSION
            self.add_module(f"layer{index}", nn.Sequential(*group))
            self.feature_info.append({"num_chs": channels, "reduction": 2 ** (index + 1), "module": f"layer{index}"})
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
        for name in GROUPS:
            x = self._group(name, x)
        return x

    def _group(self, name: str, x: Tensor) -> Tensor:
        """One layer group; with checkpointing its blocks are computed again in the backward pass."""
        group = getattr(self, name)
        return checkpoint_seq(group, x) if self.grad_checkpointing and self.training else group(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, num_classes) of a map, or with pre_logits the pooled features."""
        x = F.dropout(self.global_pool(x), self.drop_rate, self.training)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The maps of stem and layer groups at `indices` of feature_info, and before them the last map that was computed.

        An int takes the last so many, None all; stop_early computes nothing after the last one taken. There is no norm to
        apply: a map is what comes out of a block.
        """
        if output_fmt != "NCHW":
            raise InputError(f"output_fmt={output_fmt!r}: the maps are NCHW")
        taken, last = feature_take_indices(1 + len(GROUPS), indices)
        maps = {0: self.stem(x)}
        for index, name in enumerate(GROUPS[:last] if stop_early else GROUPS, 1):
            maps[index] = self._group(name, maps[index - 1])
        intermediates = [maps[index] for index in sorted(set(taken))]
        return intermediates if intermediates_only else (maps[max(maps)], intermediates)

    def get_intermediate_layers(self, x: Tensor, n: int | list[int] = 1) -> list[Tensor]:
        """The maps of `forward_intermediates` alone, under the name that timm's vision transformers have for them."""
        maps = self.forward_intermediates(x, n, intermediates_only=True)
        assert isinstance(maps, list)
        return maps

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Take out the layer groups after the last map at `indices`, and the head; returns the indices from the beginning."""
        taken, last = feature_take_indices(1 + len(GROUPS), indices)
        for name in GROUPS[last:]:
            setattr(self, name, nn.Sequential())
        self.num_features = self.feature_info[last]["num_chs"]
        if prune_head or last < len(GROUPS):
            self.reset_classifier(0, "")
        return taken

    def get_classifier(self, name_only: bool = False) -> nn.Module | str:
        """timm's name for the last layer."""
        return "fc" if name_only else self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new classifier; 0 classes leave the features, global_pool "" leaves their map, and None the pool that there is."""
        like = next(self.parameters())
        self.num_classes = num_classes
        self.global_pool, self.fc = create_classifier(
            self.num_features,
            num_classes,
            pool_type=self.global_pool.pool_type if global_pool is None else global_pool,
            device=like.device,
            dtype=like.dtype,
        )
        self.global_pool.train(self.training)
        self.fc.train(self.training)
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """In training, keep the maps between blocks alone for the backward pass, and compute the rest again."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Stem and blocks, or coarse stem and layer groups, by the names of their parameters: as for a layer-wise decay."""
        return {"stem": r"^stem", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}

    def no_weight_decay(self) -> set[str]:
        """Embeddings of positions, which timm's optimizers let be. (Ours decay them as all weights: train/optim.py.)"""
        return {name for name, _ in self.named_parameters() if name.rpartition(".")[2] in EMBEDDINGS}

    def __prepare_scriptable__(self) -> NoReturn:
        """torch.jit.script asks for this, before it would stumble over what it cannot read."""
        raise InputError(
            "torch.jit.script cannot read these networks: use torch.jit.trace, torch.export or torch.compile, which can"
        )


def from_torchvision(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of torchvision's resnet50 under the names of our baseline."""
    return {(f"stem.{name}" if name.startswith(("conv1.", "bn1.")) else name): w for name, w in weights.items()}
