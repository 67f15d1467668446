"""Fixed sinusoids of a pixel's position: the absolute encoding of Table 5."""

import torch
from torch import Tensor


def sinusoids(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """2-D sinusoids (1, channels, height, width): the first half of the channels encodes the row, the rest the column.

    Each half holds the sines, then the cosines, of wavelengths from 2 pi to 10 000 * 2 pi pixels.
    """
    rows = wave(height, channels - channels // 2, like)[:, :, None].expand(-1, -1, width)
    columns = wave(width, channels // 2, like)[:, None, :].expand(-1, height, -1)
    return torch.cat([rows, columns])[None]


def wave(size: int, channels: int, like: Tensor) -> Tensor:
    """Sinusoids (channels, size) along one axis, in the dtype and on the device of `like`."""
    count = (channels + 1) // 2
    position = torch.arange(size, device=like.device, dtype=torch.float32)
    frequency = 10000 ** (-torch.arange(count, device=like.device, dtype=torch.float32) / count)
    angle = frequency[:, None] * position
    return torch.cat([angle.sin(), angle.cos()])[:channels].to(like.dtype)
