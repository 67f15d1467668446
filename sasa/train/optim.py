"""Optimizer, schedule, averaged weights and mixing of a recipe, from timm."""

from functools import partial

from timm.data import Mixup
from timm.optim import create_optimizer_v2, list_optimizers, param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim import Optimizer

from sasa.config.train import Train
from sasa.errors import InputError, nearest


def optimizer(model: nn.Module, train: Train) -> Optimizer:
    """timm's optimizer of that name; biases and norms alone take no weight decay. InputError for an unknown name."""
    names = [str(name) for name in list_optimizers()]
    if train.optimizer not in names:
        raise InputError(
            f"train.optimizer={train.optimizer}: timm has no such optimizer. {nearest(train.optimizer, names)}"
        )
    groups = partial(param_groups_weight_decay, weight_decay=train.weight_decay)  # of a model's no_weight_decay none
    return create_optimizer_v2(model, train.optimizer, train.lr, momentum=train.momentum, param_group_fn=groups)


def schedule(optimizer: Optimizer, train: Train, steps_per_epoch: int) -> CosineLRScheduler:
    """Linear warm-up, then cosine to zero, counted in steps."""
    warmup = round(train.warmup_epochs * steps_per_epoch)
    return CosineLRScheduler(
        optimizer,
        t_initial=max(1, train.epochs * steps_per_epoch - warmup),
        warmup_t=warmup,
        warmup_lr_init=train.lr / max(1, warmup),
        warmup_prefix=True,
        t_in_epochs=False,
    )


def averaged(model: nn.Module, train: Train) -> ModelEmaV3 | None:
    """The exponential moving average of the weights, or None where the recipe keeps none.

    At step n the decay is at most (n - 1) / (n + 8), as in TensorFlow, so that the first weights do not count for thousands of
    steps. Batch norm's running statistics are averages already: the averaged network has those of the trained one.
    """
    if not train.ema_decay:
        return None
    return ModelEmaV3(model, train.ema_decay, use_warmup=True, warmup_gamma=9.0, warmup_power=1.0, exclude_buffers=True)


def mixing(train: Train, classes: int) -> Mixup | None:
    """mixup and CutMix of whole batches, or None."""
    if not train.mixes:
        return None
    return Mixup(train.mixup, train.cutmix, label_smoothing=train.label_smoothing, num_classes=classes)
