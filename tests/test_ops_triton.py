"""The Triton kernels without a GPU: exact through the interpreter, and compiled for sm_80 and sm_90 without spills.
On a GPU machine the same cases run on the chip."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import torch

from sasa.bench.gpu import exactness
from sasa.bench.gpu.report import wrong
from sasa.bench.gpu.runner import Row
from sasa.bench.gpu.setting import Setting
from sasa.ops import triton_backend
from sasa.ops.arguments import Arguments

ROOT = Path(__file__).parent.parent
TESTS = Path(__file__).parent

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")

CASES = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import torch
from test_ops import Case, compare
"""
INTERPRETED = """
compare(Case(2, 5, 9, 2, 8, 7), "triton", torch.float32)
compare(Case(1, 9, 5, 2, 6, 3, "both", "zero", 0.5), "triton", torch.bfloat16)
compare(Case(1, 1, 1, 1, 2, 7), "triton", torch.float32)
compare(Case(1, 7, 7, 1, 32, 11, "position", "mask"), "triton", torch.float16)
compare(Case(1, 5, 9, 2, 4, 5, "position", "zero"), "triton", torch.float32)
compare(Case(1, 6, 4, 1, 5, 3, "content", "mask"), "triton", torch.float32)
compare(Case(1, 3, 12, 1, 16, 9, "content", "zero"), "triton", torch.float16)
"""
VARIANTS = """
from sasa.ops import triton_backend
for triton_backend.variant, blocks in enumerate(triton_backend.variants(7, 8, 2, 2)):
    if triton_backend.variant:
        compare(Case(1, blocks["TALL"] + 1, 9, blocks["HEADS"], 8, 5), "triton", torch.float32)
        compare(Case(1, 6, 5, 2, 6, 3, "position", "zero", 0.5), "triton", torch.bfloat16)
compare(Case(1, 5, 3, 4, 3, 3, "content"), "triton", torch.float16)
compare(Case(1, 3, 5, 3, 4, 3), "triton", torch.float32)  # an odd number of heads: one a program
triton_backend.variant = 0
"""
TUNED = """
import sys
import torch
from sasa.ops import local_attention, triton_backend, triton_tuning
times, taken = iter(map(float, sys.argv[1:])), []
launch = triton_backend.Launch.__call__
def spied(self, kernel, *tensors):
    taken.append(triton_backend.named(self.blocks))
    launch(self, kernel, *tensors)
triton_backend.Launch.__call__ = spied
triton_tuning.milliseconds = lambda call, device: (call(), next(times))[1]
triton_backend.variant = None
x, row, column = (torch.randn(shape).requires_grad_() for shape in ((1, 1, 2, 8), (1, 3, 4), (1, 3, 4)))
def step():
    local_attention(x, x, x, heads=1, extent=3, row=row, column=column, backend="triton").sum().backward()
step()
assert not list(times)
for fixed, expected in ((False, ["4x8", "8x8, 2 rows", "8x8"]), (True, ["8x8"] * 3)):
    torch.use_deterministic_algorithms(fixed)
    taken.clear()
    step()
    assert taken == expected, taken
"""
STEMS = """
import itertools
import test_ops_stem as stems
for kind in stems.KINDS:
    stems.compare(stems.Case(2, 6, 9, 3, 2, 6, kind, 0.5), "triton", torch.float32)
stems.compare(stems.Case(1, 5, 3, 5, 1, 16, "convolution"), "triton", torch.bfloat16)
stems.compare(stems.Case(17, 4, 3, 1, 1, 2, "mixture"), "triton", torch.bfloat16)
stems.compare(stems.Case(1, 1, 1, 1, 1, 2), "triton", torch.float16)
stems.test_pixels_in_any_order_of_memory("triton")
case = stems.Case(1, 5, 4)
inputs = case.inputs(torch.float32)
for broken, number in itertools.product(("pixels", "query", "value"), (float("nan"), float("inf"))):
    tensor = inputs[broken].clone()
    tensor.view(-1)[0] = number
    found, expected = (case.run(inputs | {broken: tensor}, x)[0].isfinite() for x in ("triton", "reference"))
    assert torch.equal(found, expected) and not expected.all()
inputs["value"] = torch.randn(3, 8, 3, 4, 4)  # a mixture of convolutions, which no stem has
inputs["mixture"] = torch.randn(16, 3)
for one, other in zip(case.run(inputs, "triton"), case.run(inputs, "tiled")):
    assert torch.equal(one, other)
"""
REST = """
case = Case(2, 5, 4, 2, 8, 5)
inputs = case.inputs(torch.float32)
fused = torch.cat([inputs[x].detach() for x in ("query", "key", "value")], dim=-1).split(16, dim=-1)
parts = {**inputs, **dict(zip(("query", "key", "value"), fused))}
assert torch.equal(case.run(parts, "triton"), case.run(inputs, "triton"))
empty, like = torch.Tensor.new_empty, torch.empty_like
def spoiled(x):
    return x.fill_(float("nan") if x.is_floating_point() else 99)
torch.Tensor.new_empty = lambda *a, **k: spoiled(empty(*a, **k))
torch.empty_like = lambda *a, **k: spoiled(like(*a, **k))
compare(Case(1, 9, 7, 2, 6, 5), "triton", torch.float32)
compare(Case(1, 9, 7, 2, 6, 5, "position", "zero"), "triton", torch.float32)
import test_ops_stem as stems
for kind in stems.KINDS:
    stems.compare(stems.Case(1, 5, 7, 3, 1, 4, kind), "triton", torch.float32)
"""


def run(code: str, *words: str, **environment: str) -> None:
    """In an interpreter of its own, which looks for no garbage, nor takes its modules apart: two seconds."""
    quick = f"import gc; gc.disable()\n{code}\nfrom sasa.quick import leave; leave(0)"
    command = [sys.executable, "-c", quick, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_kernels_are_the_equation_in_the_interpreter() -> None:
    run(CASES + INTERPRETED + VARIANTS + STEMS + REST, TRITON_INTERPRET="1")


@pytest.mark.slow
def test_each_kernel_takes_its_fastest_variant_and_a_second_process_knows_it(tmp_path: Path) -> None:
    """By times that are given; the second process gets none. Where PyTorch is to be deterministic, it is the first variant."""
    for words in (["4", "1", "2", "3", "3", "2", "1", "4", "1", "2", "3", "4"], []):
        run(TUNED, *words, TRITON_INTERPRET="1", TRITON_CACHE_DIR=str(tmp_path))


def fails(error: Exception) -> Callable[[], float]:
    def call() -> float:
        raise error

    return call


@pytest.fixture
def tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tuner, whose calls give their own times, with nothing known yet."""
    from sasa.ops import triton_tuning  # imports Triton

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(triton_tuning, "milliseconds", lambda call, device: call())
    monkeypatch.setattr(triton_tuning, "known", {})
    return triton_tuning


def test_the_fastest_that_works_is_kept_by_shape_and_device(
    tuning: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "some GPU")
    calls = {"one": lambda: 2.0, "two": fails(RuntimeError("shared memory")), "three": lambda: 1.0}
    assert tuning.fastest(("forward", 8), calls, cpu) == "three"
    other = {"one": lambda: 1.0, "two": lambda: 2.0, "three": lambda: 3.0}
    for _ in range(2):
        assert tuning.fastest(("forward", 8), other, cpu) == "three"
        assert tuning.fastest(("forward", 4), other, cpu) == "one"
        assert tuning.fastest(("forward", 8), other, gpu) == "one"
        tuning.known.clear()  # as in another process


def test_variants_are_timed_once_for_the_same_work(tuning: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which a last batch is, too, that is smaller. One that was chosen is not timed."""
    monkeypatch.setattr(triton_backend, "variant", None)
    some = triton_backend.variants(3, 8, 4, 2)

    def taken(times: Sequence[float], name: str = "forward", images: int = 8, border: str = "mask") -> float:
        x = torch.zeros(images, 3, 4, 16)
        given = Arguments(x, x, x, None, None, 2, 3, border=border)
        return triton_backend.tuned(name, given, lambda blocks: times[some.index(blocks)])

    one, other = (4.0, 1.0, 2.0, 3.0, 5.0, 6.0), (0.0, 7.0, 8.0, 8.0, 8.0, 8.0)
    assert taken(one) == 1
    assert taken(other) == taken(other, images=5) == 7
    assert [taken(other, **x) for x in ({"images": 4}, {"images": 9}, {"border": "zero"}, {"name": "d key"})] == [0] * 4
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert taken(one) == 4
    for chosen, expected in ((3, 3), (9, 6)):
        monkeypatch.setattr(triton_backend, "variant", chosen)
        assert taken(one) == expected


@pytest.mark.parametrize("error", [RuntimeError("no such GPU"), torch.OutOfMemoryError("out of memory")])
def test_what_cannot_be_timed_is_the_first_variant_until_the_next_start(tuning: ModuleType, error: Exception) -> None:
    device, calls = torch.device("cpu"), {"one": fails(error), "two": fails(error)}
    assert tuning.fastest(("forward",), calls, device) == "one"
    tuning.known.clear()
    assert tuning.fastest(("forward",), {"one": lambda: 2.0, "two": lambda: 1.0}, device) == "two"


@pytest.mark.slow
def test_the_kernels_compile_without_spills_at_the_papers_shapes() -> None:
    """All variants on sm_90; on sm_80 the smallest and the largest heads, which differ most."""
    words = ["bf16", "7", "80", "8:0", "64:0", "90", "8:0,5", "16:0", "32:0,1,2,3", "64:0"]
    command = [sys.executable, str(TESTS / "triton_resources.py"), *words]
    environment = {x: y for x, y in os.environ.items() if x != "TRITON_INTERPRET"} | {"PYTHONPATH": str(TESTS.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(report) == (3 * 2 + 4) + (3 * 8 + 4)
    spilled = {x: y for x, y in report.items() if y["stores"] or y["loads"]}
    assert not spilled


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_kernels_are_the_equation_on_the_chip() -> None:
    rows: list[Row] = []
    exactness.work(Setting("cuda"), 0, 1, rows.append)
    assert len(rows) == len(exactness.cases(small=False))
    assert [wrong(row) for row in rows if wrong(row)] == []
