"""The local attention operation: every backend against the equation, outputs and all five gradients."""

import itertools
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import ROOT, begin, end
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sasa.errors import InputError
from sasa.ops import api, cpu, local_attention, reference, resolve, tiled
from sasa.ops.arguments import Arguments

VARIANTS = [
    ("both", "mask"),
    ("both", "zero"),
    ("content", "mask"),
    ("content", "zero"),
    ("position", "mask"),
    ("position", "zero"),
]
NAMES = ("query", "key", "value", "row", "column")

needs_compiler = pytest.mark.skipif(
    bool(cpu.unavailable("cpu", torch.float32)), reason="no C++ compiler, so no cpu backend"
)


@dataclass(frozen=True)
class Case:
    """Sizes and variant of one call."""

    batch: int = 2
    height: int = 5
    width: int = 6
    heads: int = 2
    dim: int = 4
    extent: int = 3
    terms: str = "both"
    border: str = "mask"
    scale: float = 1.0

    def inputs(self, dtype: torch.dtype = torch.float64) -> dict[str, Tensor | None]:
        """Random query, key, value, row and column, rounded to dtype; None where the variant has none."""
        generator = torch.Generator().manual_seed(0)
        shape = (self.batch, self.height, self.width, self.heads * self.dim)
        made = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3)]
        shape = (self.heads, self.extent, self.dim // 2)
        made += [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)]
        given = dict(zip(NAMES, made, strict=True))
        left_out = {"both": (), "content": ("row", "column"), "position": ("key",)}[self.terms]
        return {x: None if x in left_out else y.to(dtype).requires_grad_() for x, y in given.items()}

    def gradient(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """A random gradient of the output, rounded to dtype."""
        generator = torch.Generator().manual_seed(1)
        shape = (self.batch, self.height, self.width, self.heads * self.dim)
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    def run(self, inputs: dict[str, Tensor | None], backend: str) -> Tensor:
        """The operation."""
        options = {"heads": self.heads, "extent": self.extent, "scale": self.scale, "border": self.border}
        return local_attention(**inputs, **options, backend=backend)  # type: ignore[arg-type]


def results(case: Case, backend: str, dtype: torch.dtype, through: torch.dtype) -> dict[str, Tensor]:
    """Output and gradients in `through`, of inputs that dtype can hold."""
    inputs = {x: None if y is None else y.detach().to(through).requires_grad_() for x, y in case.inputs(dtype).items()}
    output = case.run(inputs, backend)
    given = {x: y for x, y in inputs.items() if y is not None}
    gradients = torch.autograd.grad(output, list(given.values()), case.gradient(dtype).to(through))
    return {"output": output.detach(), **dict(zip(given, gradients, strict=True))}


def compare(case: Case, backend: str, dtype: torch.dtype) -> None:
    """A backend's results lie within some units in the last place of dtype of the equation's in float64."""
    expected, found = results(case, "reference", dtype, torch.float64), results(case, backend, dtype, dtype)
    unit = torch.finfo(dtype).eps * (4 if dtype == torch.bfloat16 else 40)
    for name, value in expected.items():
        assert found[name].dtype == dtype
        size = value.abs().max().clamp(min=case.dim)  # sums of dim products round at that size, also where they cancel
        error = (found[name].double() - value).abs().max() / size
        assert error <= unit, f"{name} of {backend} differs by {error:.2e} of its size, allowed {unit:.2e}: {case}"


ODD = [
    Case(1, 1, 1, 1, 2, 7),
    Case(1, 7, 7, 2, 8, 11),
    Case(2, 13, 5, 1, 6, 5),
    Case(3, 9, 10, 8, 8, 7),
    Case(1, 20, 3, 3, 2, 19),
    Case(2, 5, 17, 4, 16, 9),
    Case(1, 6, 8, 2, 64, 3),
    Case(1, 8, 8, 2, 32, 1),
]


@pytest.mark.parametrize("backend", ["tiled", pytest.param("cpu", marks=needs_compiler)])
@pytest.mark.parametrize(("terms", "border"), VARIANTS)
def test_a_backend_is_the_equation_on_odd_sizes(backend: str, terms: str, border: str) -> None:
    for case, dtype in itertools.product(ODD, (torch.float32, torch.bfloat16)):
        chosen = Case(**{**vars(case), "terms": terms, "border": border, "scale": 0.5})
        compare(chosen, backend, dtype)
        if backend == "tiled" and dtype == torch.float32:
            compare(chosen, backend, torch.float64)


sizes = st.builds(
    Case,
    batch=st.integers(1, 3),
    height=st.integers(1, 18),
    width=st.integers(1, 18),
    heads=st.integers(1, 9),
    dim=st.integers(1, 9).map(lambda x: 2 * x),
    extent=st.integers(0, 7).map(lambda x: 2 * x + 1),
    terms=st.sampled_from(["both", "content", "position"]),
    border=st.sampled_from(["mask", "zero"]),
    scale=st.sampled_from([1.0, 0.3]),
)


@pytest.mark.parametrize("backend", ["tiled", pytest.param("cpu", marks=needs_compiler)])
@settings(max_examples=25)
@given(case=sizes)
def test_a_backend_is_the_equation_on_any_size(backend: str, case: Case) -> None:
    compare(case, backend, torch.float32)


@needs_compiler
def test_a_large_extent_over_a_border_of_zeros_rounds_no_worse() -> None:
    """161 of the 169 terms of the softmax are the same: added one by one they would all round to the same side."""
    compare(Case(1, 1, 8, 3, 6, 13, "content", "zero"), "cpu", torch.float32)


@needs_compiler
def test_odd_head_sizes_work_without_positions() -> None:
    for dim in (1, 3, 5):
        compare(Case(dim=dim, terms="content"), "cpu", torch.float32)


@pytest.mark.parametrize("backend", ["tiled", pytest.param("cpu", marks=needs_compiler)])
def test_every_element_is_written(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    empty, like = Tensor.new_empty, torch.empty_like
    monkeypatch.setattr(Tensor, "new_empty", lambda *args, **kwargs: empty(*args, **kwargs).fill_(float("nan")))
    monkeypatch.setattr(torch, "empty_like", lambda *args, **kwargs: like(*args, **kwargs).fill_(float("nan")))
    for terms, border in VARIANTS:
        compare(Case(2, 9, 7, 3, 6, 5, terms, border), backend, torch.float32)


@pytest.mark.parametrize(("terms", "border"), VARIANTS)
def test_gradients_pass_gradcheck(terms: str, border: str) -> None:
    case = Case(1, 2, 3, 1, 2, 3, terms, border)
    given = {x: y for x, y in case.inputs().items() if y is not None}

    def run(*tensors: Tensor) -> Tensor:
        return case.run({**dict.fromkeys(NAMES), **dict(zip(given, tensors, strict=True))}, "tiled")

    assert torch.autograd.gradcheck(run, tuple(given.values()))


@pytest.mark.parametrize("backend", ["tiled", pytest.param("cpu", marks=needs_compiler)])
def test_the_operation_passes_opcheck(backend: str) -> None:
    for terms in ("both", "position", "content"):
        inputs = Case(terms=terms).inputs(torch.float32)
        torch.library.opcheck(
            torch.ops.sasa.local_attention.default, (*inputs.values(), 2, 3, 1.0, "mask", backend), rtol=1e-4, atol=1e-5
        )


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tiled", "auto"])
def test_torch_compile_finds_no_graph_break(backend: str) -> None:
    case = Case(2, 9, 8, 2, 8, 5)
    inputs = case.inputs(torch.float32)
    given = [x for x in inputs.values() if x is not None]
    compiled = torch.compile(lambda *x: case.run(dict(zip(NAMES, x, strict=True)), backend), fullgraph=True)
    for x, y in zip(
        torch.autograd.grad(compiled(*given), given, case.gradient(torch.float32)),
        torch.autograd.grad(case.run(inputs, backend), given, case.gradient(torch.float32)),
        strict=True,
    ):
        torch.testing.assert_close(x, y)


def test_autocast_computes_in_the_projections_type() -> None:
    case = Case(2, 9, 8, 2, 8, 5)
    x = torch.randn(2, 9, 8, 16)
    projections = torch.nn.ModuleList(torch.nn.Linear(16, 16) for _ in range(3))
    embeddings = {x: y for x, y in case.inputs(torch.float32).items() if x in ("row", "column")}
    with torch.autocast("cpu", torch.bfloat16):
        query, key, value = (p(x) for p in projections)
        output = case.run({"query": query, "key": key, "value": value, **embeddings}, "auto")
    assert output.dtype == torch.bfloat16
    row = embeddings["row"]
    assert row is not None
    assert torch.autograd.grad(output.float().sum(), row)[0].dtype == torch.float32


@pytest.mark.parametrize("backend", ["tiled", pytest.param("cpu", marks=needs_compiler)])
def test_slices_and_views_need_no_copy(backend: str) -> None:
    case = Case(2, 9, 8, 2, 8, 5)
    inputs = case.inputs(torch.float32)
    fused = torch.cat([inputs[x].detach() for x in NAMES[:3]], dim=-1)  # type: ignore[union-attr]
    embeddings = {x: inputs[x].transpose(0, 1).contiguous().transpose(0, 1) for x in ("row", "column")}  # type: ignore[union-attr]
    views = [
        fused.split(16, dim=-1),  # one projection's parts
        [x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1) for x in fused.split(16, -1)],  # channels first
        [x.transpose(1, 2).contiguous().transpose(1, 2) for x in fused.split(16, -1)],
    ]
    expected = case.run(inputs, backend)
    for parts in views:
        found = case.run({**dict(zip(NAMES, parts, strict=False)), **embeddings}, backend)
        assert torch.equal(found, expected)
    given = [x for x in inputs.values() if x is not None]
    spread = torch.ones(()).expand(expected.shape)  # the gradient of a sum, of strides 0
    dense = torch.autograd.grad(expected, given, torch.ones_like(expected), retain_graph=True)
    assert all(map(torch.equal, torch.autograd.grad(expected, given, spread), dense))


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_do_not_change_a_bit(dtype: torch.dtype) -> None:
    before = torch.get_num_threads()
    try:
        for case in (Case(1, 13, 9, 2, 6, 5), Case(5, 14, 14, 8, 8, 7), Case(3, 7, 7, 8, 16, 7, "both", "zero")):
            runs = []
            for threads in (1, 2, 3, 7):
                torch.set_num_threads(threads)
                runs.append(results(case, "cpu", dtype, dtype))
            assert all(torch.equal(run[x], runs[0][x]) for run in runs for x in run)
    finally:
        torch.set_num_threads(before)


def test_logits_of_any_size_are_safe() -> None:
    case = Case(1, 6, 5, 2, 4, 3)
    for backend in ("tiled", "auto"):
        inputs = {
            x: None if y is None else (y.detach() * 40).requires_grad_() for x, y in case.inputs(torch.float32).items()
        }
        output = case.run(inputs, backend)
        gradients = torch.autograd.grad(output.sum(), [x for x in inputs.values() if x is not None])
        assert all(x.isfinite().all() for x in (output, *gradients))


def python(code: str, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """A fresh process that runs the code."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


MEMORY = """
import sys, torch
from sasa.bench.measure import peak_bytes
from sasa.ops import local_attention
q, k, v = (torch.randn(4, 48, 48, 64, requires_grad=True) for _ in range(3))

def attend(extent, rows=slice(None)):
    r = [torch.randn(8, extent, 4, requires_grad=True) for _ in range(2)]
    parts = (x[rows, rows, rows] for x in (q, k, v))
    local_attention(*parts, heads=8, extent=extent, row=r[0], column=r[1], backend=backend).sum().backward()

for backend in sys.argv[1:]:
    attend(3, slice(1))  # what a first call alone takes
    print(*(peak_bytes([lambda: attend(extent)], torch.device("cpu")) for extent in (3, 19)))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_extent() -> None:
    """A copy of the neighbours would take 852 MB; tiled takes 39 more (its tiles have wider borders), cpu 3."""
    # What is freed goes back to the system at once: the peak is that of the live memory, whatever the allocator keeps.
    backends = ["tiled"] if cpu.unavailable("cpu", torch.float32) else ["tiled", "cpu"]
    printed, said = python(MEMORY, *backends, MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TRIM_THRESHOLD_="0").communicate()
    assert printed, said
    if "None" in printed:
        pytest.skip("the system does not tell a peak of memory")
    for backend, line in zip(backends, printed.splitlines(), strict=True):
        small, large = map(int, line.split())
        assert small > 3 * 4 * 48 * 48 * 64 * 4, backend  # the gradients of query, key and value are seen
        assert large - small < 4 * 48 * 48 * 64 * 4 * 19**2 / 10, backend


def test_resolve_chooses_by_device_and_type() -> None:
    fastest = "tiled" if cpu.unavailable("cpu", torch.float32) else "cpu"
    assert resolve("auto", "cpu") == resolve("auto", torch.device("cpu"), torch.bfloat16) == fastest
    assert resolve("auto", "cpu", torch.float64) == resolve("auto", "cpu", torch.float16) == "tiled"
    assert resolve("auto", "meta") == "tiled"
    assert resolve("reference", "cpu") == "reference"


def test_an_explicit_backend_is_used_or_refused_with_the_reason() -> None:
    inputs = Case().inputs(torch.float64)
    with pytest.raises(InputError, match=r"float32 and bfloat16, not in float64"):
        Case().run(inputs, "cpu")
    with pytest.raises(InputError, match="NVIDIA GPU, not on cpu"):
        Case().run(inputs, "triton")
    with pytest.raises(InputError, match="expected auto, reference, tiled"):
        Case().run(inputs, "fastest")


WITHOUT = """
import torch
from sasa.ops import local_attention, resolve
assert resolve("auto", "cpu") == resolve("auto", "cpu") == "tiled"
x = torch.randn(1, 4, 4, 8)
local_attention(x, x, x, heads=2, extent=3)
try:
    local_attention(x, x, x, heads=2, extent=3, backend="cpu")
except ValueError as error:
    print(error)
"""


def test_without_a_compiler_auto_is_tiled_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "without.py").write_text(WITHOUT)
    words = [str(tmp_path / "without.py")]
    ended = end(begin(words, ROOT, fresh=False, CXX="no-such-compiler", TORCH_EXTENSIONS_DIR=str(tmp_path)))
    assert "backend 'cpu' cannot run here: no-such-compiler did not run" in ended.out, ended.text
    assert ended.err.count("slower operations of PyTorch stand in") == 1


@pytest.mark.slow
@needs_compiler
def test_processes_that_compile_at_once_both_end_well(tmp_path: Path) -> None:
    program = tmp_path / "resolve.py"
    program.write_text("from sasa.ops import resolve\nprint(resolve('auto', 'cpu'))")
    compiler = tmp_path / "quick"
    compiler.write_text('#!/bin/sh\nexec c++ "$@" -O0\n')
    compiler.chmod(0o700)
    extra = {"TORCH_EXTENSIONS_DIR": str(tmp_path), "CXX": str(compiler)}
    both = [begin([str(program)], ROOT, fresh=False, **extra) for _ in range(2)]
    assert [end(process).out for process in both] == ["cpu\n", "cpu\n"]
    assert len(list(tmp_path.glob("sasa/*"))) == 1


INVALID = [
    ({"value": torch.zeros(2, 5, 6, 4)}, {}, "expected one shape"),
    ({}, {"extent": 4}, "odd"),
    ({}, {"heads": 3}, "do not divide"),
    ({}, {"border": "wrap"}, "expected one of mask, zero"),
    ({"row": None}, {}, "come together"),
    ({"key": None, "row": None, "column": None}, {}, "at least one"),
    ({"row": torch.zeros(2, 5, 2)}, {}, r"expected \(2, 3, 2\)"),
]


@pytest.mark.parametrize(("tensors", "options", "message"), INVALID)
def test_shapes_that_do_not_fit_are_refused(tensors: dict, options: dict, message: str) -> None:
    given = {**Case().inputs(torch.float32), "heads": 2, "extent": 3, **tensors, **options}
    with pytest.raises(InputError, match=message):
        local_attention(**given)


def test_flops_are_counted_and_the_meta_device_works() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    case = Case(2, 5, 6, 2, 4, 3)
    inputs = {x: None if y is None else y.to("meta") for x, y in case.inputs(torch.float32).items()}
    with FlopCounterMode(display=False) as counter:
        assert case.run(inputs, "auto").shape == (2, 5, 6, 8)
    assert counter.get_total_flops() == 3 * 2 * 9 * 2 * 5 * 6 * 8


def test_the_log_of_the_sum_is_the_equations() -> None:
    case = Case(2, 9, 7, 3, 6, 5)
    arguments = Arguments(*case.inputs(torch.float32).values(), 3, 5, 0.7)
    expected = reference.forward(arguments)[1]
    for backend in [tiled] if cpu.unavailable("cpu", torch.float32) else [tiled, cpu]:
        torch.testing.assert_close(backend.forward(arguments)[1], expected)
    assert set(api.BACKENDS) == {"tiled", "cpu", "triton"}


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of the reference
@pytest.mark.parametrize("backend", ["tiled", pytest.param("cpu", marks=needs_compiler)])
def test_torch_func_is_the_reference(backend):
    """grad, vmap over any of the tensors, and both; a second derivative is refused in words."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, 5, 6, 8) for _ in range(3))
    rows, column = torch.randn(3, 2, 3, 2), torch.randn(2, 3, 2)

    def loss(name, q, k, v, row, column):
        return local_attention(q, k, v, heads=2, extent=3, row=row, column=column, backend=name).square().sum()

    def results(name):
        one, gradient = partial(loss, name), torch.func.grad(partial(loss, name), argnums=(0, 1, 2, 3, 4))
        return (
            gradient(q[0], k[0], v[0], rows[0], column),
            torch.func.vmap(one, in_dims=(0, 0, 0, None, None))(q, k, v, rows[0], column),
            torch.func.vmap(gradient, in_dims=(0, None, 2, 0, None))(q, k[0], v.movedim(0, 2), rows, column),
            torch.func.grad(lambda row: torch.func.vmap(one, (0, 0, 0, None, None))(q, k, v, row, column).sum())(
                rows[0]
            ),
            torch.func.vmap(torch.func.grad(lambda q: loss(name, q, None, v[0], rows[0], column)))(q),
        )

    torch.testing.assert_close(results(backend), results("reference"), rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="no second derivative"):
        torch.func.grad(lambda x: torch.func.grad(lambda x: loss(backend, x, x, x, None, None))(x).sum())(q[0])
