"""What a run leaves for its page: attention weights that are the layer's own, costs by layer, and the changed defaults."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from sasa.config import compose
from sasa.config.identity import changes
from sasa.cost import cost_and_layers
from sasa.models.build import classifier
from sasa.nn.attention import AttentionOptions, LocalAttention
from sasa.train.attention_maps import TILE, UNIT, Map, attention_maps, draw, look, overlay


@pytest.mark.parametrize("border", ["mask", "zero"])
@pytest.mark.parametrize(("position", "logits"), [("relative", "content_position"), ("relative", "position"),
                                                  ("absolute", "content_position"), ("none", "content_position")])  # fmt: skip
def test_weights_give_the_layer_s_output(position: str, logits: str, border: str) -> None:
    torch.manual_seed(0)
    options = AttentionOptions(
        extent=5, heads=2, position=position, logits=logits, border=border, scaled=True, backend="reference"
    )
    layer = LocalAttention(6, 8, options).double()
    x = torch.randn(2, 6, 7, 9, dtype=torch.float64)
    expected = layer(x)
    from sasa.nn.position import sinusoids
    from sasa.ops.reference import neighbourhood

    seen = x + sinusoids(7, 9, 6, like=x) if position == "absolute" else x
    values = neighbourhood(layer.value(seen.permute(0, 2, 3, 1)), 5).unflatten(-2, (2, 4))  # b h w heads d k*k
    found = look("layer", layer, x)
    assert found.pixels == [(3, 4), (1, 3), (4, 5)]  # of 7 x 9, at POINTS
    assert torch.allclose(found.weights.sum((3, 4)), torch.ones(2, 3, 2, dtype=torch.float64))
    for index, (row, column) in enumerate(found.pixels):
        weights = found.weights[:, index].flatten(2)
        output = torch.einsum("bnk,bndk->bnd", weights, values[:, row, column]).flatten(1)
        assert torch.allclose(output, expected[:, :, row, column])


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    compose.register()


def test_maps_of_a_network_and_their_record() -> None:
    config = compose.compose_row(["table3=conv12", "backbone=resnet26"])
    model = classifier(config)
    images = torch.randn(2, 3, 64, 64)
    maps = attention_maps(model, images)
    assert [found.name.split(".")[0] for found in maps] == ["layer3", "layer4"]
    assert not any(module._forward_pre_hooks for module in model.modules())
    drawn = draw(maps, images, ["a", "b"], [0.5] * 3, [0.25] * 3)
    record = json.loads(json.dumps(drawn.record))
    layer = record["layers"][0]
    assert len(layer["weights"]) == len(record["images"]) == 2
    assert len(layer["weights"][0]) == len(layer["pixels"])
    for head in layer["weights"][1][2]:
        assert len(head) == layer["extent"] ** 2
        assert sum(head) == pytest.approx(UNIT, abs=30)
    assert drawn.picture.width > drawn.picture.height / 4
    assert drawn.picture.height > 4 * TILE  # two images, each with a line for each of two layers


def test_a_tile_is_lit_where_a_head_looks_and_the_first_one_is_the_image() -> None:
    weights = torch.zeros(1, 1, 1, 3, 3)
    weights[..., 0, 2] = 1  # up and to the right of the pixel
    seen = Map("layer1.0", 3, 4, 4, [(2, 1)], weights)
    picture = Image.new("RGB", (32, 32), (0, 120, 240))
    plain, lit = (np.array(overlay(picture, seen, 0, 0, head), int) for head in (-1, 0))
    centres = [(2 * place + 1) * TILE // 8 for place in range(4)]
    assert all(tuple(plain[y, x]) == (0, 120, 240) for y in centres for x in centres)
    bright = {(row, column) for row, y in enumerate(centres) for column, x in enumerate(centres) if lit[y, x, 0] > 128}
    assert bright == {(1, 2)}
    framed = (plain == (0, 229, 255)).all(-1)
    rows, columns = np.flatnonzero(framed.any(1)), np.flatnonzero(framed.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (TILE // 2, TILE * 3 // 4 - 1, TILE // 4, TILE // 2 - 1)


def test_a_convolution_network_has_no_maps() -> None:
    assert (
        attention_maps(classifier(compose.compose_row(["table3=conv", "backbone=resnet26"])), torch.randn(1, 3, 64, 64))
        == []
    )


@pytest.mark.parametrize(
    "row",
    ["table1=baseline_26", "table4=k3", "table7=attention_spatial_values", "table2=conv_full", "table2=attention_full"],
)
def test_costs_by_layer_sum_to_the_costs(row: str) -> None:
    config = compose.compose_row([row])
    whole, layers = cost_and_layers(config)
    assert sum(layer["params"] for layer in layers) == whole["params"]
    assert sum(layer["flops"] for layer in layers) == whole["flops"]
    assert all(layer["flops"] for layer in layers if "norm" not in layer["kind"])


def test_changed_defaults_leave_out_the_machine() -> None:
    before = {"extent": {"k": 7}, "device": "auto", "data": {"workers": 0, "size": 64}, "seed": 0}
    after = {"extent": {"k": 3}, "device": "cpu", "data": {"workers": 2, "size": 64}, "seed": 1}
    assert list(changes(before, after)) == [("extent.k", 7, 3), ("seed", 0, 1)]


def test_defaults_are_those_of_the_scale() -> None:
    assert compose.defaults("classification", "demo")["scale"]["width"] == 0.25
    assert compose.defaults("classification", "imagenet")["train"]["epochs"] == 130
