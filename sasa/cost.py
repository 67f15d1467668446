"""Parameters and FLOPs of a network, counted on the meta device: nothing is computed or stored."""

from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from sasa.config.schema import Attention, Backend, Config, Kernel, TaskKind
from sasa.models.build import classifier, detector


def cost(config: Config) -> dict[str, int]:
    """FLOPs of one image (a multiply-add is 2) and parameters, as {"flops": ..., "params": ...}."""
    counted = replace(config, kernel=Kernel(backend=Backend.tiled))
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        image = torch.empty(1, 3, config.data.size, config.data.size)
        if config.task.kind is TaskKind.detection:
            model = detector(counted).eval()
            model.head(list(model.backbone(image).values()))
        else:
            model = classifier(counted).eval()
            model(image)
    return {"flops": counter.get_total_flops(), "params": sum(p.numel() for p in model.parameters())}


def at_paper_size(config: Config) -> Config:
    """The same network as the paper counts it: 224x224 pixels, 1000 classes, full width, 8 heads and 4 in the stem.

    For detection it is 640x640 pixels and 90 classes.
    """
    attention: Attention = replace(config.attention, heads=8, stem_heads=4)
    size, classes = (640, 90) if config.task.kind is TaskKind.detection else (224, 1000)
    data = replace(config.data, size=size, classes=classes)
    return replace(config, attention=attention, data=data, scale=replace(config.scale, width=1.0))


def main() -> None:
    """Print every row's FLOPs and parameters beside the published ones; nothing is trained."""
    from sasa.config import compose
    from sasa.report.costs import costs_table

    compose.register()
    counted = {}
    for table in compose.tables():
        for row in compose.options(table):
            counted[table, row] = cost(at_paper_size(compose.compose_row([f"{table}={row}"])))
    costs_table({row: (numbers["flops"], numbers["params"]) for row, numbers in counted.items()})


if __name__ == "__main__":
    main()
