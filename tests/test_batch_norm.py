"""Batch norm's running statistics move once a step, by the mean over its micro-batches."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from sasa.config.compose import compose_row, register
from sasa.config.identity import Identity
from sasa.data.build import splits
from sasa.models.build import network, set_bn_decay
from sasa.records.folder import Record
from sasa.train.batch_norm import Running
from sasa.train.classification import Classification
from sasa.train.detection import Detection
from sasa.train.loop import Trainer, seed_everything

DECAY = 0.9


def small() -> nn.Sequential:
    """A network with two batch norms that have seen something."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5))
    set_bn_decay(network, DECAY)
    network(torch.randn(8, 3, 9, 9))
    return network


def step(network: nn.Module, batches: Sequence[torch.Tensor], forward: Callable[..., torch.Tensor]) -> None:
    """One step of training, without the update of the weights."""
    running = Running(network)
    running.begin()
    moved = []
    for images in batches:
        forward(images).square().sum().backward()
        moved.append([value.clone() for value in running.values])
        running.go_back()
    running.end([torch.stack(values).mean(0) for values in zip(*moved, strict=True)])


def statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of the running means and variances."""
    return {name: value.clone() for name, value in model.state_dict().items() if "running" in name}


def test_they_move_by_the_mean_over_micro_batches() -> None:
    network = small()
    before = statistics(network)
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in before}
    for name in ("1", "4"):

        def note(_: nn.Module, inputs: tuple[torch.Tensor], name: str = name) -> None:
            seen[f"{name}.running_mean"].append(inputs[0].mean((0, 2, 3)))
            seen[f"{name}.running_var"].append(inputs[0].var((0, 2, 3), correction=1))

        network.get_submodule(name).register_forward_pre_hook(note)
    sizes, scales = (6, 6, 2), (1, 3, -2)
    batches = [scale * torch.randn(size, 3, 9, 9) + scale for size, scale in zip(sizes, scales, strict=True)]
    step(network, batches, network)
    for name, value in statistics(network).items():
        expected = DECAY * before[name] + (1 - DECAY) * torch.stack(seen[name]).mean(0)
        torch.testing.assert_close(value, expected)


def test_one_micro_batch_moves_them_as_torch_does() -> None:
    one, other = small(), small()
    images = torch.randn(8, 3, 9, 9)
    for _ in range(3):
        other(images)
        step(one, [images], one)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_compiled_network_is_compiled_once() -> None:
    plain, other = small(), small()
    counter = CompileCounter()
    compiled = torch.compile(other, backend=counter)
    images = torch.randn(3, 8, 3, 9, 9)
    for _ in range(4):
        step(plain, images, plain)
        step(other, images, compiled)
    assert counter.frame_count == 1
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in other.state_dict().items())


@pytest.mark.parametrize("row", ["table3=conv1", "table2=conv_full"])
def test_in_both_tasks_a_step_of_equal_micro_batches_moves_them_as_one_does(row: str, tmp_path: Path) -> None:
    """Four micro-batches that are the same one: the statistics are those of a step that has it once."""
    register()
    small = ("backbone=resnet26", "scale.width=0.125", "attention.heads=1", "data.train_images=24", "data.size=64")
    config = compose_row([row, *small, "train.batch=8", "train.micro_batch=4", f"output={tmp_path}"])
    detection = row.startswith("table2")
    data = splits(config.data, boxes=detection)

    def moved(times: int) -> dict[str, torch.Tensor]:
        seed_everything(0)
        model = network(config)
        task = Detection(config, data) if detection else Classification(config, data)
        trainer = Trainer(model, task, config, torch.device("cpu"), Record(config, Identity(None, None, (), "test")))
        batch = data.train.__getitems__([(0, 0, position) for position in range(4)])
        trainer.train_step([(data.train.normalise(batch.images), batch.labels)] * times)
        return statistics(model)

    once, often = moved(1), moved(4)
    fresh = {name: float("var" in name) for name in once}
    assert any((value != fresh[name]).any() for name, value in once.items())
    for name, value in often.items():
        torch.testing.assert_close(value, once[name])
