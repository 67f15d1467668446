"""What the CPU computes at one go: batch norm with shortcut and ReLU, and attention with its projections."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sasa.errors import InputError
from sasa.nn.attention import AttentionOptions, LocalAttention
from sasa.nn.norm import BatchNorm
from sasa.ops import batch_norm, build, projected_attention
from sasa.ops.arguments import Arguments

pytestmark = pytest.mark.skipif(
    build.unavailable("batch_norm", "cpu", torch.float32) is not None, reason="no C++ compiler here"
)


def map_of(*shape: int) -> Tensor:
    """A random map with adjacent channels."""
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


class Normalised(BatchNorm):
    """One that is followed by ReLU, or is not."""

    def __init__(self, channels: int, relu: bool) -> None:
        super().__init__(channels)
        self.relu = relu

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return super().forward(x, shortcut, self.relu)


def norm_of(channels: int, relu: bool, training: bool) -> Normalised:
    """A batch norm that has seen something."""
    norm = Normalised(channels, relu)
    for value in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(value)  # type: ignore[arg-type]
    nn.init.uniform_(norm.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return norm.train(training)


def results(layer: nn.Module, inputs: list[Tensor], dtype: torch.dtype, fused: bool) -> list[Tensor]:
    """Output, gradients of inputs and parameters, and buffers after it; checks which way it went."""
    layer = copy.deepcopy(layer)
    layer = layer.double() if dtype == torch.float64 else layer
    inputs = [x.to(dtype).clone(memory_format=torch.preserve_format).requires_grad_() for x in inputs]
    y = layer(*inputs)
    torch.manual_seed(1)
    gradient = torch.randn(y.shape).bfloat16().to(dtype)
    y.backward(gradient.contiguous(memory_format=torch.channels_last))
    names = [str(step) for step, _ in ((y.grad_fn, 0), *y.grad_fn.next_functions)]
    assert any("FusedBackward" in name for name in names) == fused, names
    gradients = [x.grad for x in (*inputs, *layer.parameters())]
    return [y.detach(), *gradients, *layer.buffers()]  # type: ignore[list-item]


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 5),
    channels=st.sampled_from([1, 3, 16, 37, 300]),
    height=st.integers(1, 17),
    width=st.integers(2, 17),
    relu=st.booleans(),
    shortcut=st.booleans(),
    training=st.booleans(),
    mean=st.sampled_from([0.0, 100.0]),
)
def test_batch_norm_is_that_of_float64(batch, channels, height, width, relu, shortcut, training, mean) -> None:
    """Where ReLU has an edge within the rounding, its gradient may fall on either side: there are none so near here."""
    torch.manual_seed(0)
    norm = norm_of(channels, relu, training)
    inputs = [map_of(batch, channels, height, width) for _ in range(1 + shortcut)]
    inputs[0] += mean
    exact = copy.deepcopy(norm).double()
    clipped = F.batch_norm(
        inputs[0].double(), exact.running_mean, exact.running_var, exact.weight, exact.bias, training, 0.1, exact.eps
    ) + (inputs[1].double() if shortcut else 0)
    near = ((clipped.abs() < 1e-4 * (1 + mean / 10)) & torch.tensor(relu or shortcut)).any()
    expected = results(norm, inputs, torch.float64, fused=False)
    found = results(norm, inputs, torch.float32, fused=True)
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        if near and 1 <= number <= 3 + shortcut:
            continue
        scale = other.double().abs().max().clamp(min=1).item()
        torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=2e-6 * scale * (1 + mean / 10))


def test_batch_norm_in_bfloat16_sums_in_float32() -> None:
    torch.manual_seed(0)
    norm, x = norm_of(48, False, True), map_of(4, 48, 11, 13).bfloat16()
    expected = results(norm, [x], torch.float64, fused=False)
    for one, other in zip(results(norm, [x], torch.bfloat16, fused=True), expected, strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=2e-2, atol=2e-2)


def test_what_is_no_number_is_seen_behind_relu() -> None:
    for training in (True, False):
        x = map_of(2, 4, 5, 5)
        x[0, 1, 2, 3] = torch.nan
        y = norm_of(4, True, training)(x)
        assert y[0, 1, 2, 3].isnan()
        assert y[:, 0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_do_not_change_a_bit_of_batch_norm(dtype: torch.dtype) -> None:
    before = torch.get_num_threads()
    try:
        for shape in ((3, 5, 9, 7), (8, 64, 28, 28), (2, 2048, 7, 7)):
            for shortcut in (False, True):
                torch.manual_seed(0)
                norm = norm_of(shape[1], True, True)
                inputs = [map_of(*shape).to(dtype) for _ in range(1 + shortcut)]
                runs = []
                for threads in (1, 2, 3, 7):
                    torch.set_num_threads(threads)
                    runs.append(results(norm, inputs, dtype, fused=True))
                assert all(all(map(torch.equal, run, runs[0])) for run in runs)
    finally:
        torch.set_num_threads(before)


def test_transformed_exported_and_other_maps_take_pytorchs_batch_norm() -> None:
    norm, x, shortcut = norm_of(6, True, False), map_of(2, 6, 5, 4), map_of(2, 6, 5, 4)
    expected = norm(x, shortcut).detach()
    torch.testing.assert_close(norm(x.contiguous(), shortcut), expected)  # channels are not adjacent
    exported = torch.export.export(norm, (x, shortcut)).module()
    torch.testing.assert_close(exported(x, shortcut), expected)
    torch.testing.assert_close(torch.func.vmap(norm)(x[:, None], shortcut[:, None])[:, 0], expected)
    assert list(norm.state_dict()) == list(nn.BatchNorm2d(6).state_dict())


@pytest.mark.parametrize(
    "mean", [None, torch.zeros(6), torch.zeros(3), torch.arange(12.0)[::2], torch.zeros(6).double()]
)
@pytest.mark.parametrize(
    "weight", [torch.ones(6), torch.ones(3), torch.ones(1).expand(6), torch.ones(6, device="meta")]
)
@pytest.mark.parametrize("batch", [True, False])
def test_parameters_of_other_shapes_strides_and_types_are_taken_or_refused_as_pytorch_does(mean, weight, batch) -> None:
    x, variance = map_of(2, 6, 5, 4), torch.ones(6)
    for pair in ((None, mean), (mean, mean), (mean, variance)):
        statistics = [None if y is None else y.clone(memory_format=torch.preserve_format) for y in pair]
        rest = weight, torch.zeros(6), batch, 0.1, 1e-5
        try:
            expected = F.batch_norm(x, *pair, *rest)
        except Exception as error:
            with pytest.raises(type(error)):
                batch_norm(x, *statistics, *rest)
        else:
            torch.testing.assert_close(batch_norm(x, *statistics, *rest), expected)


def test_projections_of_different_widths_are_refused() -> None:
    query, key, value = (torch.ones(width, 4) for width in (6, 6, 12))  # together as long as three of 8
    weights = Arguments(query, key, value, None, None, heads=2, extent=3)
    with pytest.raises(InputError, match="expected one shape"):
        projected_attention(torch.ones(1, 3, 3, 4), weights)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"logits": "position"},
        {"position": "none"},
        {"position": "absolute"},
        {"border": "zero", "scaled": True},
    ],
)
def test_attention_with_its_projections_is_that_of_float64(options: dict) -> None:
    torch.manual_seed(0)
    layer = LocalAttention(12, 24, AttentionOptions(extent=5, heads=2, **options))
    inputs = [map_of(3, 12, 7, 9)]
    expected = results(layer, inputs, torch.float64, fused=False)
    for one, other in zip(results(layer, inputs, torch.float32, fused=True), expected, strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=1e-5 * other.double().abs().max().item())


def test_attention_whose_map_needs_no_gradient() -> None:
    layer, x = LocalAttention(4, 8, AttentionOptions(extent=3, heads=2)), map_of(1, 4, 5, 5)
    layer(x).sum().backward()
    assert x.grad is None
    assert all(value.grad is not None for value in layer.parameters())


class Twice(nn.Linear):
    """Another layer in a projection's place."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_projections_with_hooks_and_other_layers_in_their_place_are_called() -> None:
    torch.manual_seed(0)
    layer, x, seen = LocalAttention(4, 8, AttentionOptions(extent=3, heads=2)), map_of(2, 4, 5, 6), []
    expected = layer(x)
    handle = layer.query.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    torch.testing.assert_close(layer(x), expected)
    assert seen == [(2, 5, 6, 8)]
    handle.remove()
    twice = Twice(4, 8, bias=False)
    twice.load_state_dict(layer.value.state_dict())
    layer.value = twice
    torch.testing.assert_close(layer(x), 2 * expected)
