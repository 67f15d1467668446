"""The Triton kernels without a GPU: exact through the interpreter, and compiled for sm_80 and sm_90 without spills.
On a GPU machine the same cases run on the chip."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sasa.bench.gpu import exactness
from sasa.bench.gpu.report import wrong
from sasa.bench.gpu.runner import Row
from sasa.bench.gpu.setting import Setting

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
for triton_backend.variant in range(1, len(triton_backend.variants(7, 8, 2))):
    compare(Case(1, 9, 9, 1, 8, 5), "triton", torch.float32)
    compare(Case(1, 6, 5, 2, 6, 3, "position", "zero", 0.5), "triton", torch.bfloat16)
triton_backend.variant = 0
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


def run(code: str, **environment: str) -> None:
    command = [sys.executable, "-c", CASES + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_kernels_are_the_equation_in_the_interpreter() -> None:
    run(INTERPRETED + VARIANTS + STEMS + REST, TRITON_INTERPRET="1")


@pytest.mark.slow
def test_the_kernels_compile_without_spills_at_the_papers_shapes() -> None:
    command = [sys.executable, str(TESTS / "triton_resources.py"), "80,90", "bf16", "7", "8", "16", "32x4", "64"]
    environment = {x: y for x, y in os.environ.items() if x != "TRITON_INTERPRET"} | {"PYTHONPATH": str(TESTS.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(report) == 24 + 18 + 8
    spilled = {x: y for x, y in report.items() if y["stores"] or y["loads"]}
    assert not spilled


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_kernels_are_the_equation_on_the_chip() -> None:
    rows: list[Row] = []
    exactness.work(Setting("cuda"), 0, 1, rows.append)
    assert len(rows) == len(exactness.cases(small=False))
    assert [wrong(row) for row in rows if wrong(row)] == []
