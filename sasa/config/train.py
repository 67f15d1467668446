"""The train group of the configuration."""

from dataclasses import dataclass
from math import inf

from omegaconf import MISSING

from sasa.errors import check


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
    bn_decay: float = MISSING  # a step: running = bn_decay * running + (1 - bn_decay) * mean over micro-batches
    mixup: float = MISSING
    cutmix: float = MISSING
    amp: bool = MISSING  # bfloat16 autocast
    compile: bool = MISSING
    channels_last: bool = MISSING
    log_steps: int = MISSING
    checkpoint_minutes: float = MISSING
    keep_epochs: int = MISSING  # the weights of every n-th epoch are kept; 0: of the best and the last alone

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "micro_batch", "log_steps"):
            check(getattr(self, name) >= 1, f"train.{name}={getattr(self, name)}: expected at least 1")
        check(
            self.batch % self.micro_batch == 0,
            f"train.micro_batch={self.micro_batch} does not divide train.batch={self.batch}: "
            f"try train.micro_batch={max(n for n in range(1, self.micro_batch + 1) if self.batch % n == 0)}",
        )
        check(
            not self.mixes or self.micro_batch % 2 == 0,
            f"train.micro_batch={self.micro_batch} is odd, and train.mixup and train.cutmix mix its images in pairs: "
            + (
                f"give an even one that divides train.batch={self.batch}"
                if self.batch % 2 == 0
                else "give an even train.batch"
            )
            + ", or set both to 0",
        )
        check(self.keep_epochs >= 0, f"train.keep_epochs={self.keep_epochs}: expected 0 or more")
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

    @property
    def mixes(self) -> bool:
        """Whether images are mixed, with each other and with their labels."""
        return self.mixup > 0 or self.cutmix > 0
