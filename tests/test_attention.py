"""The attention layer against the definition of Section 3.1, written out pixel by pixel in float64."""

import copy
import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sasa.errors import InputError
from sasa.nn.attention import AttentionOptions, LocalAttention
from sasa.nn.position import sinusoids
from sasa.nn.stem import AttentionStem, build_stem
from sasa.ops.stem.arguments import BLOCK


def definition(layer: LocalAttention, x: torch.Tensor) -> torch.Tensor:
    """y_ij = sum of softmax(q . k + q . r) v over the neighbourhood, for one image (C, H, W), head by head."""
    options = layer.options
    if options.position == "absolute":
        x = x + sinusoids(x.shape[1], x.shape[2], x.shape[0], like=x)[0]
    channels, (height, width) = layer.value.out_features, x.shape[1:]
    size = channels // options.heads
    output = torch.zeros(channels, height, width, dtype=x.dtype)
    reach = options.extent // 2
    for head in range(options.heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(height):
            for j in range(width):
                q = layer.query.weight[part] @ x[:, i, j]
                logits, values = [], []
                for a in range(i - reach, i + reach + 1):
                    for b in range(j - reach, j + reach + 1):
                        inside = 0 <= a < height and 0 <= b < width
                        if not inside and options.border == "mask":
                            continue
                        pixel = x[:, a, b] if inside else torch.zeros_like(x[:, 0, 0])
                        logit = torch.zeros((), dtype=x.dtype)
                        if layer.key is not None:
                            logit = logit + q @ (layer.key.weight[part] @ pixel)
                        if layer.row is not None:
                            offset = torch.cat([layer.row[head, a - i + reach], layer.column[head, b - j + reach]])
                            logit = logit + q @ offset
                        logits.append(logit / math.sqrt(size) if options.scaled else logit)
                        values.append(layer.value.weight[part] @ pixel)
                weights = torch.stack(logits).softmax(0)
                output[part, i, j] = (weights[:, None] * torch.stack(values)).sum(0)
    return output


@settings(max_examples=25)
@given(
    position=st.sampled_from(["none", "absolute", "relative"]),
    logits=st.sampled_from(["content_position", "position"]),
    border=st.sampled_from(["mask", "zero"]),
    scaled=st.booleans(),
    extent=st.sampled_from([1, 3, 5]),
    heads=st.sampled_from([1, 2]),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
)
def test_layer_is_the_definition(position, logits, border, scaled, extent, heads, height, width):
    if logits == "position" and position != "relative":
        return
    options = AttentionOptions(
        extent=extent, heads=heads, position=position, logits=logits, border=border, scaled=scaled
    )
    torch.manual_seed(0)
    layer = LocalAttention(3, 4 * heads, options).double()
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    expected = torch.stack([definition(layer, image) for image in x])
    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-10)


def test_a_logit_sums_over_the_channels_of_its_head():
    """The best-known public implementation forgets the sum: the same weight then cannot serve all channels of a head."""
    layer = LocalAttention(4, 4, AttentionOptions(extent=3, heads=1, position="none")).double()
    with torch.no_grad():
        layer.value.weight.copy_(torch.ones(4, 4))  # all channels carry the same value, so one softmax gives one output
    y = layer(torch.randn(1, 4, 5, 5, dtype=torch.float64))
    torch.testing.assert_close(y, y[:, :1].expand_as(y))


def test_q_r_alone_has_no_key_projection():
    layer = LocalAttention(8, 16, AttentionOptions(logits="position"))
    assert layer.key is None
    assert sum(p.numel() for p in layer.parameters()) == 2 * 8 * 16 + 2 * 8 * 7 * 1


@pytest.mark.parametrize(
    ("channels", "options", "message"),
    [
        (20, AttentionOptions(), "8 attention heads do not divide a layer of 20 channels"),
        (24, AttentionOptions(), "two halves"),
        (64, AttentionOptions(position="none", logits="position"), "position=none has no r"),
    ],
)
def test_what_does_not_fit_is_said(channels, options, message):
    with pytest.raises(InputError, match=message):
        LocalAttention(8, channels, options)


def test_absolute_positions_tell_all_pixels_apart():
    code = sinusoids(17, 23, 16, like=torch.empty(0))[0].flatten(1).T
    distance = torch.cdist(code, code) + torch.eye(len(code)) * 9
    assert distance.min() > 0.05


def stem_definition(stem: AttentionStem, kind: str, x: torch.Tensor) -> torch.Tensor:
    """The stem's attention before BN, for one image (C, H, W): softmax over the pixels of the 4x4 block."""
    height, width = x.shape[1:]
    channels = stem.query.out_features
    size = channels // stem.heads
    output = torch.zeros(channels, height, width, dtype=x.dtype)

    @cache
    def value(a: int, b: int) -> torch.Tensor:
        if kind == "attention":
            return stem.value.project.weight @ x[:, a, b]
        if kind == "attention_conv_values":
            padded = torch.nn.functional.pad(x, (1, 2, 1, 2))
            return (stem.value.conv.weight * padded[:, a : a + 4, b : b + 4]).sum((1, 2, 3))
        place = stem.value.row[a % 4] + stem.value.column[b % 4]
        mixture = torch.stack([place @ nu for nu in stem.value.nu]).softmax(0)
        matrices = stem.value.project.weight.unflatten(0, (stem.value.mixtures, -1))
        return (mixture[:, None, None] * matrices).sum(0) @ x[:, a, b]

    for head in range(stem.heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(height):
            for j in range(width):
                q = stem.query.weight[part] @ x[:, i, j]
                logits, values = [], []
                for a in range(i // 4 * 4, min(i // 4 * 4 + 4, height)):
                    for b in range(j // 4 * 4, min(j // 4 * 4 + 4, width)):
                        r = torch.cat([stem.row[head, a - i + 3], stem.column[head, b - j + 3]])
                        logits.append(q @ (stem.key.weight[part] @ x[:, a, b] + r))
                        values.append(value(a, b)[part])
                weights = torch.stack(logits).softmax(0)
                output[part, i, j] = (weights[:, None] * torch.stack(values)).sum(0)
    return output


@pytest.mark.parametrize("kind", ["attention", "attention_conv_values", "attention_spatial_values"])
@pytest.mark.parametrize("size", [(8, 8), (5, 10)])
def test_stem_is_the_definition(kind, size):
    """Attention, batch norm, ReLU and max pool; in training with all gradients and the running statistics."""
    torch.manual_seed(0)
    stem = build_stem(kind, 3, 8, 4, AttentionOptions(stem_heads=2)).double()
    nn.init.normal_(stem.bn.weight)  # of both signs
    nn.init.normal_(stem.bn.bias)
    norm = copy.deepcopy(stem.bn)
    parameters = dict(stem.named_parameters())
    for training in (True, False):
        stem.train(training)
        norm.train(training)
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        attended = torch.stack([stem_definition(stem, kind, image) for image in x])
        clipped = nn.functional.relu(norm(attended))
        expected = nn.functional.max_pool2d(clipped, BLOCK, BLOCK, ceil_mode=True)
        output = stem(x)
        assert output.shape[2:] == (math.ceil(size[0] / BLOCK), math.ceil(size[1] / BLOCK))
        torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(dict(stem.bn.named_buffers()), dict(norm.named_buffers()))
        wanted = {name: x for name, x in parameters.items() if not name.startswith("bn.")}
        wanted |= {f"bn.{name}": x for name, x in norm.named_parameters()}
        gradient = torch.randn_like(expected)
        found = torch.autograd.grad(output, [parameters[name] for name in wanted], gradient)
        for name, one, other in zip(
            wanted, found, torch.autograd.grad(expected, list(wanted.values()), gradient), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
