"""The state of a run, written whole or not at all, and read without running code."""

import io
import zipfile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from sasa.errors import InputError
from sasa.records.files import write_atomically


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dictionaries; OSError (a full disk) leaves the file as it was."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def save_weights(path: Path, model: nn.Module) -> None:
    """Write a network's weights as safetensors, which timm and others read."""
    write_atomically(
        path, safetensors.torch.save({name: value.contiguous() for name, value in model.state_dict().items()})
    )


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a state; InputError names a file that is none."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch reads damaged tensors without a word
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of {damaged} is wrong")
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a damaged pickle may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is not a checkpoint that can be read ({reason}). Remove it") from error
    if not isinstance(state, dict) or "key" not in state:
        raise InputError(f"{path} is not a checkpoint of sasa. Remove it, or give another folder with output=<folder>")
    return state
