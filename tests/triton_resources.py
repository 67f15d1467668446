"""Registers and spills of the Triton kernels compiled for a GPU that is not here. Run by test_ops_triton.py, which needs
a process without TRITON_INTERPRET: `python triton_resources.py DTYPE EXTENT ARCHITECTURE DIM:VARIANT,... ...` prints JSON."""

import contextlib
import io
import itertools
import json
import re
import sys

import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sasa import quick
from sasa.ops import triton_backend, triton_kernels
from sasa.ops.stem import triton_backend as stems
from sasa.ops.stem import triton_kernels as stem_kernels

POINTERS = {"total": "*fp32", "means": "*fp32", "shares": "*fp32"}
NAMES = ("gradient", "query", "key", "value", "row", "column", "output", "d_query", "d_key", "d_value")
STEM_NAMES = ("content", "relative", "values", "counts", "means", "squares", "constant", "slope")
STEM_NAMES += ("d_content", "d_relative", "d_values")


def attention(
    kernel: triton.JITFunction, architecture: int, dtype: str, extent: int, dim: int, blocks: dict[str, int]
) -> dict[str, int]:
    """The report on a kernel of local attention with these block sizes."""
    size = 4 if dtype == "fp32" else 2
    constants = {
        "CONTENT": True,
        "POSITION": True,
        "ZERO": False,
        "UPCAST": False,
        "EXTENT": extent,
        "DIM": dim,
        **blocks,
    }
    kinds = {**dict.fromkeys(NAMES, f"*{dtype}"), **POINTERS, "scale": "fp32"}
    return resources(kernel, architecture, kinds, constants, triton_backend.warps(dim, size))


def stem(kernel: triton.JITFunction, architecture: int, dtype: str, side: int, dim: int) -> dict[str, int]:
    """The report on a kernel of the stems: values of windows of a side, or of pixels."""
    constants = {"IN": 3, "DIM": dim, "SIDE": side, **stems.padded(3, dim, side)}
    kinds = {**dict.fromkeys(STEM_NAMES, "*fp32"), "pixels": f"*{dtype}", "largest": f"*{dtype}", "places": "*u8"}
    return resources(kernel, architecture, kinds, constants, stems.warps(3, dim, side))


def resources(
    kernel: triton.JITFunction, architecture: int, kinds: dict[str, str], constants: dict[str, int], warps: int
) -> dict[str, int]:
    """ptxas's report on one kernel: registers a thread, bytes of spill stores and loads, shared memory."""
    signature = {x: "constexpr" if x in constants else kinds.get(x, "i32") for x in kernel.arg_names}
    aligned = {  # what a launch finds by itself: pointers, strides and widths that 16 divides
        (i,): [["tt.divisibility", 16]]
        for i, x in enumerate(kernel.arg_names)
        if signature[x].startswith("*") or x.startswith(("q_", "k_", "v_"))
    }
    source = ASTSource(kernel, signature, {(kernel.arg_names.index(x),): y for x, y in constants.items()}, aligned)
    options = {"num_warps": warps, "num_stages": 2}
    log = io.StringIO()
    with contextlib.redirect_stdout(log):
        compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
    words = {
        "registers": r"Used (\d+) registers",
        "stores": r"(\d+) bytes spill stores",
        "loads": r"(\d+) bytes spill loads",
    }
    found = {x: int(re.search(y, log.getvalue())[1]) for x, y in words.items()}  # type: ignore[index]
    return {**found, "shared": compiled.metadata.shared}


if __name__ == "__main__":
    knobs.nvidia.dump_ptxas_log = knobs.compilation.always_compile = True
    dtype, extent, *words = sys.argv[1:]
    architecture, report = 0, {}
    for word in words:
        if ":" not in word:  # an architecture, of which what follows is
            architecture = int(word)
            for kernel, side in itertools.product(("forward_kernel", "backward_kernel"), (1, 4)):
                found = stem(getattr(stem_kernels, kernel), architecture, dtype, side, 16)
                report[f"stem's {kernel} {side} sm_{architecture}"] = found
            continue
        dim, *numbers = map(int, re.split("[:,]", word))
        some = triton_backend.variants(int(extent), dim, 4 if dtype == "fp32" else 2, 8)
        for kernel in ("forward_kernel", "backward_query_kernel", "backward_key_kernel"):
            for blocks in (some[n] for n in numbers):
                found = attention(getattr(triton_kernels, kernel), architecture, dtype, int(extent), dim, blocks)
                report[f"{kernel} {dim} {triton_backend.named(blocks)} sm_{architecture}"] = found
    print(json.dumps(report))
    quick.leave(0)
