"""Groups of the configuration that make the network."""

from dataclasses import dataclass

from omegaconf import MISSING

from sasa.config.choices import Border, Encoding, Primitive, StemKind, Terms
from sasa.errors import check


@dataclass
class Backbone:
    """ResNet of Section 4.1: depth 26, 38 or 50; width multiplies the base width of all layers.

    weights say where it starts: a finished classification run, table1 (the run there of this very backbone), or
    torchvision's or timm's file; null for nowhere.
    """

    depth: int = MISSING
    width: float = MISSING
    weights: str | None = MISSING

    def __post_init__(self) -> None:
        check(self.depth in (26, 38, 50), f"backbone.depth={self.depth}: the paper's networks have 26, 38 or 50 layers")
        check(0 < self.width <= 16, f"backbone.width={self.width}: expected a factor above 0 and up to 16, such as 0.5")


@dataclass
class Layers:
    """The primitive of each of the four layer groups (Table 3)."""

    groups: list[Primitive] = MISSING

    def __post_init__(self) -> None:
        check(
            len(self.groups) == 4,
            f"layers.groups has {len(self.groups)} entries: a ResNet has four layer groups, "
            "so give four, as in layers.groups=[convolution,convolution,attention,attention]",
        )


@dataclass
class Extent:
    """Spatial extent of attention (Table 4): the neighbourhood is k x k."""

    k: int = MISSING

    def __post_init__(self) -> None:
        check(
            self.k >= 1 and self.k % 2 == 1, f"extent.k={self.k}: the spatial extent is odd and at least 1, such as 7"
        )


@dataclass
class Position:
    """Positional encoding of attention (Table 5)."""

    encoding: Encoding = MISSING


@dataclass
class Logits:
    """Terms of the attention logits (Table 6)."""

    terms: Terms = MISSING


@dataclass
class Stem:
    """The stem (Table 7); mixtures counts the value matrices of spatially-aware values."""

    kind: StemKind = MISSING
    mixtures: int = MISSING

    def __post_init__(self) -> None:
        check(self.mixtures >= 1, f"stem.mixtures={self.mixtures}: expected at least 1 (the default is 4)")


@dataclass
class Detector:
    """FPN and detection heads of RetinaNet (Table 2); scale.width multiplies channels."""

    primitive: Primitive = MISSING
    channels: int = MISSING
    attention_heads: int = MISSING  # of each attention layer of FPN and detection heads
    anchor: float = MISSING  # side of the smallest anchor of a pyramid level, over the level's stride

    def __post_init__(self) -> None:
        check(self.channels >= 1, f"detector.channels={self.channels}: expected at least 1, such as 256")
        check(
            self.attention_heads >= 1,
            f"detector.attention_heads={self.attention_heads}: expected at least 1, such as 8",
        )
        check(0.1 <= self.anchor <= 100, f"detector.anchor={self.anchor}: expected a factor from 0.1 to 100, such as 4")


@dataclass
class Attention:
    """What the paper holds fixed in every attention layer; scaled divides logits by sqrt(head size)."""

    heads: int = MISSING
    stem_heads: int = MISSING
    border: Border = MISSING
    scaled: bool = MISSING

    def __post_init__(self) -> None:
        check(self.heads >= 1, f"attention.heads={self.heads}: expected at least 1")
        check(self.stem_heads >= 1, f"attention.stem_heads={self.stem_heads}: expected at least 1")
