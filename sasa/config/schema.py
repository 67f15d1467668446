"""What a configuration is: its groups and the checks between their fields. Values live in conf/."""

from dataclasses import dataclass
from math import ceil

from omegaconf import MISSING

from sasa.config.choices import Backend, Device, TaskKind, TrackerKind
from sasa.config.data import Data
from sasa.config.network import Attention, Backbone, Detector, Extent, Layers, Logits, Position, Stem
from sasa.config.train import Train
from sasa.errors import check


@dataclass
class Task:
    """What the network is trained for."""

    kind: TaskKind = MISSING


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
    project: str | None = MISSING  # of W&B; null: WANDB_PROJECT, or sasa
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
    detector: Detector = MISSING
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
            return
        check(
            reader in ("shapes", "coco"),
            f"data.reader={reader} has no boxes, and task=detection needs them: choose scale=demo or scale=coco, "
            "or data=coco with data.root",
        )
        channels = round(self.detector.channels * self.scale.width)
        check(
            channels >= 2,
            f"detector.channels={self.detector.channels} with scale.width={self.scale.width} leaves {channels} channels: "
            f"at least 2 are needed, so set detector.channels={ceil(2 / self.scale.width)} or more",
        )
        for name in ("label_smoothing", "mixup", "cutmix"):
            check(
                getattr(self.train, name) == 0,
                f"train.{name}={getattr(self.train, name)}: detection has none, so set train.{name}=0",
            )

    def micro_batches(self) -> list[int]:
        """What train.micro_batch can be beside train.batch, smallest first; a classifier's batch norm wants two images."""
        least = 1 if self.task.kind is TaskKind.detection else 2
        unit = 2 if self.train.mixes else 1
        return [n for n in range(least, self.train.batch + 1) if self.train.batch % n == 0 and n % unit == 0]
