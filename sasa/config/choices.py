"""The choices of configuration fields, by the names that users type."""

from enum import StrEnum


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
    tensorboard = "tensorboard"
    none = "none"
