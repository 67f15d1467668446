"""The operations of Sections 3.1 and 3.2 and their backends: local attention, and attention in the blocks of a stem."""

from sasa.ops.api import local_attention, resolve
from sasa.ops.stem.api import stem_attention

__all__ = ["local_attention", "resolve", "stem_attention"]
