"""Attention in a stem's blocks: every backend against the equations, outputs and all gradients."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ops import python
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sasa.errors import InputError
from sasa.ops import stem_attention
from sasa.ops.stem import api, cpu, reference
from sasa.ops.stem.arguments import Arguments

NAMES = ("pixels", "query", "key", "value", "mixture", "row", "column")
OUTPUTS = ("largest", "mean", "variance")
KINDS = ("pointwise", "convolution", "mixture")

needs_compiler = pytest.mark.skipif(
    bool(cpu.unavailable("cpu", torch.float32)), reason="no C++ compiler, so no cpu backend"
)
backends = pytest.mark.parametrize("backend", ["tiled", pytest.param("cpu", marks=needs_compiler)])


@dataclass(frozen=True)
class Case:
    """Sizes and the kind of values of one call."""

    batch: int = 2
    height: int = 5
    width: int = 10
    channels: int = 3
    heads: int = 2
    dim: int = 4
    kind: str = "pointwise"
    scale: float = 1.0
    shift: float = 0.0

    def inputs(self, dtype: torch.dtype = torch.float64) -> dict[str, Tensor | None]:
        """Random pixels, weights and embeddings, rounded to dtype."""
        generator = torch.Generator().manual_seed(0)
        side, mixtures = (4 if self.kind == "convolution" else 1), (3 if self.kind == "mixture" else 1)
        out = self.heads * self.dim
        shapes = {
            "pixels": (self.batch, self.height, self.width, self.channels),
            "query": (out, self.channels),
            "key": (out, self.channels),
            "value": (mixtures, out, self.channels, side, side),
            "mixture": (16, mixtures),
            "row": (self.heads, 7, self.dim // 2),
            "column": (self.heads, 7, self.dim // 2),
        }
        made: dict[str, Tensor | None] = {
            name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()
        }
        for name in ("query", "key", "value"):  # so that q, k and v are of size 1, too
            made[name] = made[name] / math.prod(shapes[name][2 if name == "value" else 1 :]) ** 0.5  # type: ignore[operator]
        made["pixels"] = made["pixels"] + self.shift  # type: ignore[operator]
        if self.kind != "mixture":
            made["mixture"] = None
        return {name: None if x is None else x.to(dtype).requires_grad_() for name, x in made.items()}

    def run(self, inputs: dict[str, Tensor | None], backend: str) -> tuple[Tensor, ...]:
        """The operation."""
        return stem_attention(**inputs, heads=self.heads, scale=self.scale, backend=backend)  # type: ignore[arg-type]


def results(
    case: Case, backend: str, dtype: torch.dtype, through: torch.dtype, of_pixels: bool = True
) -> dict[str, Tensor]:
    """Outputs and gradients in `through`, of inputs that dtype can hold."""
    inputs = {
        name: None if x is None else x.detach().to(through).requires_grad_(of_pixels or name != "pixels")
        for name, x in case.inputs(dtype).items()
    }
    outputs = case.run(inputs, backend)
    generator = torch.Generator().manual_seed(1)
    gradients = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(dtype).to(x.dtype) for x in outputs]
    wanted = {name: x for name, x in inputs.items() if x is not None and x.requires_grad}
    found = torch.autograd.grad(outputs, list(wanted.values()), gradients)
    named = dict(zip(OUTPUTS, outputs, strict=True)) | {f"d_{n}": x for n, x in zip(wanted, found, strict=True)}
    return {name: x.detach() for name, x in named.items()}


def compare(case: Case, backend: str, dtype: torch.dtype) -> None:
    """A backend's results lie within some units in the last place of dtype of the equation's in float64."""
    expected = results(case, "reference", dtype, torch.float64)
    for of_pixels in (True, False):
        found = results(case, backend, dtype, dtype, of_pixels)
        assert len(found) == len(expected) - (not of_pixels)
        for name, value in found.items():
            kept = torch.promote_types(dtype, torch.float32) if name in ("mean", "variance") else dtype
            assert value.dtype == kept, name
            unit = torch.finfo(kept).eps * (4 if kept == torch.bfloat16 else 40)
            size = expected[name].abs().max().clamp(min=case.dim)  # sums round at that size, also where they cancel
            error = (value.double() - expected[name]).abs().max() / size
            assert error <= unit, f"{name} of {backend} differs by {error:.2e} of its size, allowed {unit:.2e}: {case}"


ODD = [
    Case(1, 1, 1, 1, 1, 2),
    Case(2, 8, 8, 3, 2, 8),
    Case(3, 9, 13, 3, 4, 6),
    Case(1, 34, 31, 2, 2, 16, scale=0.5),
    Case(2, 6, 70, 5, 1, 10),
    Case(17, 4, 3, 1, 3, 4),
]


@backends
@pytest.mark.parametrize("kind", KINDS)
def test_a_backend_is_the_equation_on_odd_sizes(backend: str, kind: str) -> None:
    for case, dtype in itertools.product(ODD, (torch.float32, torch.bfloat16, torch.float64)):
        if dtype != torch.float64 or backend == "tiled":
            compare(Case(**{**vars(case), "kind": kind}), backend, dtype)


sizes = st.builds(
    Case,
    batch=st.integers(1, 3),
    height=st.integers(1, 18),
    width=st.integers(1, 18),
    channels=st.integers(1, 5),
    heads=st.integers(1, 5),
    dim=st.integers(1, 9).map(lambda x: 2 * x),
    kind=st.sampled_from(KINDS),
    scale=st.sampled_from([1.0, 0.3]),
)


@backends
@settings(max_examples=25)
@given(case=sizes)
def test_a_backend_is_the_equation_on_any_size(backend: str, case: Case) -> None:
    compare(case, backend, torch.float32)


@backends
def test_a_variance_far_from_zero_loses_no_digits(backend: str) -> None:
    """Mean 100 times the deviation: the plain difference of E y^2 and (E y)^2 would keep three digits."""
    case = Case(4, 64, 64, shift=100.0)
    inputs = case.inputs(torch.float32)
    inputs |= {"query": inputs["query"] * 0, "row": inputs["row"] * 0, "column": inputs["column"] * 0}  # type: ignore[operator]
    wide = {name: None if x is None else x.double() for name, x in inputs.items()}
    torch.testing.assert_close(case.run(inputs, backend)[2].double(), case.run(wide, "reference")[2], rtol=2e-4, atol=0)


@backends
def test_every_element_is_written(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    empty, like = Tensor.new_empty, torch.empty_like

    def hole(x: Tensor) -> Tensor:
        return x.fill_(float("nan") if x.is_floating_point() else 255)

    monkeypatch.setattr(Tensor, "new_empty", lambda *args, **kwargs: hole(empty(*args, **kwargs)))
    monkeypatch.setattr(torch, "empty_like", lambda *args, **kwargs: hole(like(*args, **kwargs)))
    for kind in KINDS:
        compare(Case(2, 9, 7, 3, 3, 6, kind), backend, torch.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_pass_gradcheck(kind: str) -> None:
    case = Case(1, 5, 3, 2, 1, 2, kind)
    wanted = {name: x for name, x in case.inputs().items() if x is not None}

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        return case.run({**dict.fromkeys(NAMES), **dict(zip(wanted, tensors, strict=True))}, "tiled")

    assert torch.autograd.gradcheck(run, tuple(wanted.values()))


@backends
def test_the_operation_passes_opcheck(backend: str) -> None:
    for kind in KINDS:
        inputs = tuple(Case(kind=kind).inputs(torch.float32).values())
        torch.library.opcheck(torch.ops.sasa.stem_attention.default, (*inputs, 2, 1.0, backend), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_torch_compile_finds_no_graph_break() -> None:
    case = Case(2, 9, 8, kind="mixture")
    wanted = [x for x in case.inputs(torch.float32).values() if x is not None]
    compiled = torch.compile(lambda *x: case.run(dict(zip(NAMES, x, strict=True)), "auto"), fullgraph=True)
    found, expected = ([x.square().sum() for x in f(*wanted)] for f in (compiled, compiled.__wrapped__))
    torch.testing.assert_close(torch.autograd.grad(sum(found), wanted), torch.autograd.grad(sum(expected), wanted))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_torch_func_is_the_reference() -> None:
    """The gradient of each of several images."""
    case = Case(3, 8, 6)
    inputs = {name: x for name, x in case.inputs(torch.float32).items() if x is not None}

    def loss(query: Tensor, image: Tensor) -> Tensor:
        given = {**dict.fromkeys(NAMES), **inputs, "pixels": image[None], "query": query}
        return sum(x.square().sum() for x in case.run(given, "auto"))  # type: ignore[return-value]

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(inputs["query"].detach(), inputs["pixels"])
    for found, image in zip(each, inputs["pixels"], strict=True):
        expected = torch.autograd.grad(loss(inputs["query"], image), inputs["query"])[0]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_do_not_change_a_bit(dtype: torch.dtype) -> None:
    before = torch.get_num_threads()
    try:
        for kind in KINDS:
            case, runs = Case(3, 65, 62, kind=kind), []
            for threads in (1, 2, 5):
                torch.set_num_threads(threads)
                runs.append(results(case, "cpu", dtype, dtype, of_pixels=False))
            assert all(torch.equal(run[x], runs[0][x]) for run in runs for x in run)
    finally:
        torch.set_num_threads(before)


@backends
def test_pixels_in_any_order_of_memory(backend: str) -> None:
    case = Case(2, 9, 11, kind="convolution")
    inputs = case.inputs(torch.float32)
    pixels = inputs["pixels"]
    assert pixels is not None
    channels_first = pixels.detach().permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    for one, other in zip(
        case.run(inputs, backend), case.run({**inputs, "pixels": channels_first}, backend), strict=True
    ):
        assert torch.equal(one, other)


@backends
def test_bfloat16_rounds_nothing_between_its_inputs_and_its_output(backend: str) -> None:
    case = Case(8, 16, 16, heads=4, dim=16)
    inputs = case.inputs(torch.bfloat16)
    expected = case.run({name: None if x is None else x.double() for name, x in inputs.items()}, "reference")
    with torch.autocast("cpu", torch.bfloat16):
        largest, mean, variance = case.run(inputs, backend)
    assert (largest.double() - expected[0]).abs().max() <= 0.51 * torch.finfo(torch.bfloat16).eps * expected[0].max()
    torch.testing.assert_close([mean.double(), variance.double()], list(expected[1:]), rtol=1e-5, atol=1e-6)


MEMORY = """
import sys, torch
from sasa.bench.measure import peak_bytes
from sasa.nn.attention import AttentionOptions
from sasa.nn.stem import build_stem
x = torch.randn(2, 3, 256, 256)
for kind in ("attention", "attention_conv_values", "attention_spatial_values"):
    stem = build_stem(kind, 3, 64, 4, AttentionOptions())
    stem(x[:, :, :8]).sum().backward()  # what a first call alone takes
    print(peak_bytes([lambda: stem(x).sum().backward()], torch.device("cpu")))
"""


@pytest.mark.slow
@needs_compiler
def test_a_stem_never_holds_what_it_pools() -> None:
    """One map of the attention's outputs has 33.6 MB, the stem's own output 2.1."""
    printed, said = python(MEMORY, MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TRIM_THRESHOLD_="0").communicate()
    assert printed, said
    if "None" in printed:
        pytest.skip("the system does not tell a peak of memory")
    assert all(int(peak) < 2 * 256 * 256 * 64 * 4 / 2 for peak in printed.split()), printed


INVALID = [
    ({"pixels": torch.zeros(5, 6, 3)}, {}, "none 0"),
    ({"key": torch.zeros(8, 4)}, {}, "expected \\(8, 3\\)"),
    ({}, {"heads": 3}, "do not divide 8 channels"),
    ({"value": torch.zeros(1, 8, 3)}, {}, "value has shape"),
    ({"value": torch.zeros(2, 8, 3, 1, 1)}, {}, "mixture None: expected"),
    ({"row": torch.zeros(2, 5, 2)}, {}, "expected \\(2, 7, 2\\)"),
    ({}, {"backend": "fastest"}, "expected auto, reference, tiled"),
    ({}, {"backend": "triton"}, "on an NVIDIA GPU, not on cpu"),
]


@pytest.mark.parametrize(("tensors", "options", "message"), INVALID)
def test_what_does_not_fit_is_refused(tensors: dict, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        stem_attention(**{**Case().inputs(torch.float32), "heads": 2, **tensors, **options})


def test_the_papers_products_are_counted() -> None:
    """q, k and v of each pixel, mixed values, and three products with each of the 16 pixels of a block, or 4 x 1, 1 x 4 and 1."""
    case = Case(2, 9, 9, 3, 2, 4, "mixture")
    pairs = 2 * (4 * 16 * 16 + 2 * 2 * 4 * 4 + 1)
    with FlopCounterMode(display=False) as counter:
        case.run({x: None if y is None else y.to("meta") for x, y in case.inputs(torch.float32).items()}, "auto")
    assert counter.get_total_flops() == 2 * 81 * 2 * 8 * (3 * 5 + 3) + 3 * pairs * 2 * 8


@backends
@pytest.mark.parametrize("broken", ["pixels", "query", "value"])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_number_is_seen_in_the_maxima(backend: str, broken: str, number: float) -> None:
    inputs = Case(1, 8, 8).inputs(torch.float32)
    tensor = inputs[broken].clone()  # type: ignore[union-attr]
    tensor.view(-1)[0] = number
    largest, expected = (Case(1, 8, 8).run(inputs | {broken: tensor}, name)[0] for name in (backend, "reference"))
    assert not expected.isfinite().all()
    assert torch.equal(largest.isfinite(), expected.isfinite())


def test_a_place_is_the_first_of_the_largest() -> None:
    """As max pooling takes it: of equal pixels the first."""
    inputs = Case(1, 8, 8).inputs(torch.float32)
    inputs["pixels"] = torch.ones(1, 8, 8, 3)
    inputs |= {"row": torch.zeros(2, 7, 2), "column": torch.zeros(2, 7, 2)}
    arguments = Arguments(*inputs.values(), 2)  # type: ignore[arg-type]
    assert not reference.forward(arguments)[1].any()
    for name in ("tiled", "auto"):
        chosen = name if name == "tiled" or cpu.unavailable("cpu", torch.float32) else "cpu"
        assert not api.BACKENDS[chosen].forward(arguments)[1].any()
