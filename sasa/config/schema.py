"""What a configuration is: names, types, choices and the checks between fields. Values live in conf/."""

from dataclasses import dataclass
from enum import StrEnum
from math import inf

from omegaconf import MISSING

from sasa.errors import InputError


class TaskKind(StrEnum):
    """What a network is trained for: classes of images, or boxes (Table 2)."""

    classification = "classification"
    detection = "detection"


class Primitive(StrEnum):
    """The spatial operation of a layer group, or of FPN and detection heads."""

    convolution = "convolution"
    attention = "attention"


class Encoding(StrEnum):
    """Positional encoding of attention (Table 5)."""

    none = "none"
    absolute = "absolute"
    relative = "relative"


class Terms(StrEnum):
    """Terms of an attention logit (Table 6): q.k + q.r, or q.r alone."""

    content_position = "content_position"
    position = "position"


class StemKind(StrEnum):
    """The first layer of the network (Table 7)."""

    conv = "conv"
    attention = "attention"
    attention_conv_values = "attention_conv_values"
    attention_spatial_values = "attention_spatial_values"


class Border(StrEnum):
    """Positions outside the image: not in the neighbourhood (mask), or key and value zero (zero)."""

    mask = "mask"
    zero = "zero"


class Augment(StrEnum):
    """Training augmentation: none, horizontal flip, or random resized crop and flip (the ResNet recipe)."""

    none = "none"
    flip = "flip"
    crop_flip = "crop_flip"


class Device(StrEnum):
    """Where a run computes; auto takes a GPU if there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Backend(StrEnum):
    """Implementation of the attention operation; auto takes the fastest that runs here."""

    auto = "auto"
    reference = "reference"
    tiled = "tiled"
    cpu = "cpu"
    triton = "triton"


class TrackerKind(StrEnum):
    """Where curves go besides the run's folder."""

    wandb = "wandb"
    none = "none"


def check(condition: bool, message: str) -> None:
    """Raise InputError(message) unless the condition holds."""
    if not condition:
        raise InputError(message)


@dataclass
class Task:
    """What the network is trained for."""

    kind: TaskKind = MISSING


@dataclass
class Backbone:
    """ResNet of Section 4.1: depth 26, 38 or 50; width multiplies the base width of all layers.

    weights, for detection: where they come from, a finished classification run or torchvision's file; null for nowhere.
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
class Heads:
    """FPN and detection heads of RetinaNet (Table 2); scale.width multiplies channels."""

    primitive: Primitive = MISSING
    channels: int = MISSING
    attention_heads: int = MISSING  # of each attention layer of FPN and detection heads
    anchor: float = MISSING  # side of the smallest anchor of a pyramid level, over the level's stride

    def __post_init__(self) -> None:
        check(self.channels >= 1, f"heads.channels={self.channels}: expected at least 1, such as 256")
        check(
            self.attention_heads >= 1, f"heads.attention_heads={self.attention_heads}: expected at least 1, such as 8"
        )
        check(self.anchor > 0, f"heads.anchor={self.anchor}: expected a factor above 0, such as 4")


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


@dataclass
class Data:
    """Images. reader is shapes (generated) or of timm.data.create_dataset: folder, tar, wds, hfds/..., torch/cifar10.

    For detection it is shapes or coco, the only one to read annotation files.
    """

    name: str = MISSING
    reader: str = MISSING
    root: str | None = MISSING
    train_split: str = MISSING
    test_split: str = MISSING
    download: bool = MISSING
    size: int = MISSING  # side of the square input in pixels
    classes: int = MISSING
    train_images: int | None = MISSING  # shapes: how many to generate; other readers: null takes all
    test_images: int | None = MISSING
    validation: float = MISSING  # fraction of the training images that is held out (the paper: 0.04)
    augment: Augment = MISSING
    crop: float = MISSING  # evaluation: side of the centre crop over the resized shorter side
    mean: list[float] = MISSING
    std: list[float] = MISSING
    skip_broken: bool = MISSING
    workers: int = MISSING
    train_annotations: str | None = None  # detection: files in COCO's format, below root
    test_annotations: str | None = None
    jitter: float = 0.0  # detection: images are resized by 1 - jitter to 1 + jitter before the random crop

    def __post_init__(self) -> None:
        check(self.size >= 16, f"data.size={self.size}: images of at least 16 pixels are needed")
        check(self.classes >= 2, f"data.classes={self.classes}: expected at least 2")
        check(
            0 < self.validation < 1,
            f"data.validation={self.validation}: expected a fraction between 0 and 1, such as 0.04",
        )
        check(0 < self.crop <= 1, f"data.crop={self.crop}: expected a fraction in (0, 1], such as 0.875")
        check(0 <= self.jitter < 1, f"data.jitter={self.jitter}: expected a number in [0, 1), such as 0.2")
        check(self.workers >= 0, f"data.workers={self.workers}: expected 0 or more processes")
        check(
            len(self.mean) == 3 and len(self.std) == 3,
            "data.mean and data.std take three numbers each, for red, green, blue",
        )
        check(min(self.std) > 0, f"data.std={self.std}: expected three numbers above 0")
        if self.reader == "shapes":
            check(
                bool(self.train_images) and bool(self.test_images),
                "data.train_images and data.test_images must be given for generated images",
            )
        for name in ("train_images", "test_images"):
            count = getattr(self, name)
            check(count is None or count >= 1, f"data.{name}={count}: expected at least 1")


@dataclass
class Train:
    """The recipe (Section 4.1). A step takes `batch` images, in micro-batches where memory is short."""

    name: str = MISSING
    epochs: int = MISSING
    batch: int = MISSING
    micro_batch: int = MISSING
    optimizer: str = MISSING  # a name of timm.optim
    lr: float = MISSING
    momentum: float = MISSING
    weight_decay: float = MISSING
    warmup_epochs: float = MISSING
    label_smoothing: float = MISSING
    ema_decay: float = MISSING  # 0 evaluates the trained weights themselves
    bn_decay: float = MISSING  # running = bn_decay * running + (1 - bn_decay) * batch
    mixup: float = MISSING
    cutmix: float = MISSING
    amp: bool = MISSING  # bfloat16 autocast
    compile: bool = MISSING
    channels_last: bool = MISSING
    log_steps: int = MISSING
    checkpoint_minutes: float = MISSING

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "micro_batch", "log_steps"):
            check(getattr(self, name) >= 1, f"train.{name}={getattr(self, name)}: expected at least 1")
        check(
            self.batch % self.micro_batch == 0,
            f"train.micro_batch={self.micro_batch} does not divide train.batch={self.batch}: "
            f"try train.micro_batch={max(n for n in range(1, self.micro_batch + 1) if self.batch % n == 0)}",
        )
        check(0 < self.lr < inf, f"train.lr={self.lr}: expected a learning rate above 0")
        for name in ("momentum", "ema_decay", "bn_decay", "label_smoothing"):
            check(0 <= getattr(self, name) < 1, f"train.{name}={getattr(self, name)}: expected a number in [0, 1)")
        for name in ("weight_decay", "warmup_epochs", "mixup", "cutmix", "checkpoint_minutes"):
            check(0 <= getattr(self, name) < inf, f"train.{name}={getattr(self, name)}: expected 0 or more")
        check(
            self.warmup_epochs < self.epochs,
            f"train.warmup_epochs={self.warmup_epochs} leaves nothing of train.epochs={self.epochs}: "
            "set it lower, as in train.warmup_epochs=0",
        )


@dataclass
class Scale:
    """The size a table is run at; width multiplies backbone.width."""

    name: str = MISSING
    width: float = MISSING

    def __post_init__(self) -> None:
        check(0 < self.width <= 1, f"scale.width={self.width}: expected a factor above 0 and up to 1")


@dataclass
class Kernel:
    """Which implementation computes local attention."""

    backend: Backend = MISSING


@dataclass
class Tracker:
    """Experiment tracking beside the files of the run."""

    kind: TrackerKind = MISSING
    project: str = MISSING
    entity: str | None = MISSING


@dataclass
class Config:
    """One run, whole."""

    task: Task = MISSING
    backbone: Backbone = MISSING
    layers: Layers = MISSING
    extent: Extent = MISSING
    position: Position = MISSING
    logits: Logits = MISSING
    stem: Stem = MISSING
    heads: Heads = MISSING
    attention: Attention = MISSING
    data: Data = MISSING
    train: Train = MISSING
    scale: Scale = MISSING
    kernel: Kernel = MISSING
    tracker: Tracker = MISSING
    seed: int = MISSING
    device: Device = MISSING
    output: str = MISSING

    def __post_init__(self) -> None:
        check(0 <= self.seed < 2**32, f"seed={self.seed}: expected a number from 0 to 4294967295")
        check(bool(self.output.strip()), "output= is empty: expected a folder, such as output=outputs")
        width = self.backbone.width * self.scale.width
        check(
            round(64 * width) >= 1,
            f"backbone.width={self.backbone.width} with scale.width={self.scale.width} leaves no channels: "
            "a width of 64 channels is multiplied by both, so raise one of them",
        )
        reader = self.data.reader
        if self.task.kind is TaskKind.classification:
            check(
                reader != "coco",
                "data.reader=coco has boxes, and task=classification needs classes of images: "
                "add task=detection, or choose other data",
            )
            check(
                self.backbone.weights is None,
                f"backbone.weights={self.backbone.weights}: only task=detection starts from the weights of another run",
            )
            return
        check(
            reader in ("shapes", "coco"),
            f"data.reader={reader} has no boxes, and task=detection needs them: choose scale=demo or scale=coco, "
            "or data=coco with data.root",
        )
        for name in ("label_smoothing", "mixup", "cutmix"):
            check(
                getattr(self.train, name) == 0,
                f"train.{name}={getattr(self.train, name)}: detection has none, so set train.{name}=0",
            )
