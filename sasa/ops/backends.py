"""Which backend computes an operation on a device."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType

import torch

from sasa.errors import InputError

FASTEST = {"cpu": "cpu", "cuda": "triton"}  # by device type, where it can run; tiled runs everywhere


def resolve(backend: str, device: torch.device | str, dtype: torch.dtype, backends: Mapping[str, ModuleType]) -> str:
    """The one of an operation's backends that `backend` means on a device: itself, or for "auto" the fastest there.

    Raises InputError for a name that is unknown, and for a backend that cannot run there, with the reason.
    """
    if backend not in ("auto", "reference", *backends):
        raise InputError(f"backend {backend!r} is unknown: expected auto, reference, {', '.join(backends)}")
    kind = torch.device(device).type
    if backend == "auto":
        if torch.compiler.is_exporting() and torch.onnx.is_in_onnx_export():
            return "reference"  # whose operations ONNX has
        fastest = FASTEST.get(kind, "tiled")
        missing = fastest == "tiled" or fastest not in backends or unavailable(backends[fastest], kind, dtype)
        return "tiled" if missing else fastest
    if kind != "meta" and backend in FASTEST.values():  # nothing runs on meta, and the others run anywhere
        reason = unavailable(backends[backend], kind, dtype)
        if reason:
            raise InputError(f"backend {backend!r} cannot run here: {reason}; auto takes the fastest that can")
    return backend


@torch.compiler.assume_constant_result  # asked once while torch.compile traces, not traced
def unavailable(module: ModuleType, device: str, dtype: torch.dtype) -> str | None:
    """Why a backend cannot run on a type of device and of data; None where it can."""
    return module.unavailable(device, dtype)


def eager(*tensors: torch.Tensor) -> bool:
    """Whether this is a plain call of PyTorch on numbers: nothing is compiled, exported, traced or transformed."""
    known = (torch.Tensor, torch.nn.Parameter)
    busy = torch.compiler.is_compiling() or torch.jit.is_tracing() or transforming()
    return not busy and all(type(tensor) in known for tensor in tensors)


def transforming() -> bool:
    """Whether torch.func is at work, which does not see the gradient that is registered with torch.library."""
    return torch._C._are_functorch_transforms_active()


def unrounded(device: torch.device) -> AbstractContextManager[object]:
    """No autocast, which would round logits and sums to bfloat16; the meta device has none."""
    known = torch.amp.autocast_mode.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()
