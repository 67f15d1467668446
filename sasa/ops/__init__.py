"""The local attention operation of Section 3.1, and its backends."""

from sasa.ops.api import local_attention, resolve

__all__ = ["local_attention", "resolve"]
