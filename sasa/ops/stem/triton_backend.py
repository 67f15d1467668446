"""The Triton backend."""

import torch


def unavailable(device: str, dtype: torch.dtype) -> str | None:
    """Why this backend cannot run on a type of device and of data; None where it can."""
    return "it has no kernels for stems yet"
