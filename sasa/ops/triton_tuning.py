"""Which of a kernel's variants is the fastest: timed at its first use on a kind of GPU, and kept in Triton's cache on disk.

triton.autotune would not do: what it keeps is by a kernel's own arguments and the architecture, and of the batch and
the GPU these know nothing; a kernel's outputs are made before it picks, and here their size is the variant's.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import triton
from triton.runtime.cache import get_cache_manager
from triton.testing import do_bench

Call = Callable[[], object]
Times = dict[str, float]  # milliseconds, by variant
FILE = "variants.json"
known: dict[tuple[object, ...], Times] = {}  # by what they compute, and on what


def fastest(work: tuple[object, ...], calls: Mapping[str, Call], device: torch.device) -> str:
    """The name of the call that takes least, of some that compute the same work; of the first if none can be timed."""
    key = (*work, torch.cuda.get_device_name(device) if device.type == "cuda" else "the interpreter")
    if key not in known:
        known[key] = kept(key) or timed(key, calls, device)
    return min(known[key], key=known[key].__getitem__)


def kept(key: tuple[object, ...]) -> Times | None:
    """What an earlier process measured with the same kernels; None if none did."""
    path = get_cache_manager(address(key)).get_file(FILE)
    return json.loads(Path(path).read_text())["milliseconds"] if path else None


def timed(key: tuple[object, ...], calls: Mapping[str, Call], device: torch.device) -> Times:
    """Measure them, for later processes too; those that fail, as where shared memory is short, take for ever."""
    found = {}
    for name, call in calls.items():
        try:
            found[name] = milliseconds(call, device)
        except torch.OutOfMemoryError:  # which says nothing of the variants
            return dict.fromkeys(calls, 0.0)
        except Exception:  # whatever Triton, its compiler or the driver raise
            found[name] = float("inf")
    if min(found.values()) < float("inf"):
        content = {"work": [str(x) for x in key], "milliseconds": found}
        get_cache_manager(address(key)).put(json.dumps(content, indent=1), FILE, binary=False)
    return found


def milliseconds(call: Call, device: torch.device) -> float:
    """The median of some calls on a GPU, or the time of one in the interpreter."""
    if device.type == "cuda":
        return do_bench(call, warmup=5, rep=20, return_mode="median")
    began = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began)


def address(key: tuple[object, ...]) -> str:
    """The folder in Triton's cache: by the work, the GPU, the kernels' text and Triton's version."""
    sources = sorted(Path(__file__).parent.glob("triton_*.py"))
    parts = [repr(key).encode(), triton.__version__.encode(), *(file.read_bytes() for file in sources)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
