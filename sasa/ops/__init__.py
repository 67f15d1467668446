"""The local attention operation of Section 3.1 and its backends, and attention in the blocks of a stem."""

from sasa.ops.api import local_attention, resolve
from sasa.ops.blocks import block_attention

__all__ = ["block_attention", "local_attention", "resolve"]
