"""Parameters and FLOPs of a network, counted on the meta device: nothing is computed or stored."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import RetinaNet

from sasa.config.choices import Backend, TaskKind
from sasa.config.schema import Config, Kernel
from sasa.errors import InputError
from sasa.models.build import classifier, detector
from sasa.nn.attention import LocalAttention
from sasa.nn.stem import AttentionStem

# What is counted as one layer.
LAYERS = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.GroupNorm, LocalAttention, AttentionStem)
PADDED = 32  # torchvision's detectors fill up images to multiples of it


def cost(config: Config) -> dict[str, int]:
    """FLOPs of one image (a multiply-add is 2) and parameters, as {"flops": ..., "params": ...}."""
    return cost_and_layers(config)[0]


def cost_and_layers(config: Config) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """`cost`; and name, kind, FLOPs and parameters of each layer, in the network's order, which sum to it."""
    model, counter = counted(config)
    counts, root = counter.get_flop_counts(), type(model).__name__
    whole = {"flops": counter.get_total_flops(), "params": sum(p.numel() for p in model.parameters())}
    return whole, [
        {
            "name": name,
            "kind": kind(layer),
            "flops": sum(counts.get(f"{root}.{name}", {}).values()),
            "params": sum(p.numel() for p in layer.parameters()),
        }
        for name, layer in layers(model)
    ]


def counted(config: Config) -> tuple[nn.Module, FlopCounterMode]:
    """The network on the meta device, and a counter that has seen it at work on one image."""
    plain = replace(config, kernel=Kernel(backend=Backend.tiled))
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        detection = config.task.kind is TaskKind.detection
        model: nn.Module = Dense(detector(plain)).eval() if detection else classifier(plain).eval()
        size = config.data.size
        size = -(-size // PADDED) * PADDED if detection else size
        model(torch.empty(1, 3, size, size))
    return model, counter


class Dense(nn.Module):
    """What a RetinaNet does at each place of an image: all of it but the choice among its boxes."""

    def __init__(self, model: RetinaNet) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.head

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.head(list(self.backbone(images).values()))


def layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers inside a module, by their dotted names."""
    for name, child in module.named_children():
        if isinstance(child, LAYERS):
            yield prefix + name, child
        else:
            yield from layers(child, f"{prefix}{name}.")


def kind(layer: nn.Module) -> str:
    """What a layer is, as people say it: "3x3 convolution, 64 to 64, stride 2"."""
    match layer:
        case nn.Conv2d():
            stride = f", stride {layer.stride[0]}" if layer.stride[0] > 1 else ""
            size = "x".join(map(str, layer.kernel_size))
            return f"{size} convolution, {layer.in_channels} to {layer.out_channels}{stride}"
        case nn.Linear():
            return f"linear, {layer.in_features} to {layer.out_features}"
        case LocalAttention():
            k, heads = layer.options.extent, layer.options.heads
            return f"{k}x{k} attention, {heads} heads, {layer.query.in_features} to {layer.query.out_features}"
        case AttentionStem():
            return f"attention stem, {layer.heads} heads, 3 to {layer.query.out_features}"
        case nn.GroupNorm():
            return f"group norm, {layer.num_groups} groups"
    return "batch norm"


def main() -> None:
    """Print every row's FLOPs and parameters beside the published ones; nothing is trained."""
    from sasa.config import compose, options, own_tables, tables  # what a count of one network does not need
    from sasa.config.identity import at_paper_size
    from sasa.report.own import own_table
    from sasa.report.paper import TABLES
    from sasa.report.tables.terminal import costs_table

    parser = argparse.ArgumentParser(prog="python -m sasa.cost", description=main.__doc__, allow_abbrev=False)
    parser.parse_args()
    counted, doing = {}, ""
    try:
        compose.register()
        TABLES.update({name: own_table(name) for name in own_tables()})
        for table in tables():
            for row in options(table):
                doing = f"{table}={row}: "
                counted[table, row] = cost(at_paper_size(compose.compose_row([f"{table}={row}"])))
    except (InputError, *compose.ERRORS) as error:
        parser.error(f"{doing}{' '.join(str(error).split())}")
    costs_table({row: (numbers["flops"], numbers["params"]) for row, numbers in counted.items()})


if __name__ == "__main__":
    main()
