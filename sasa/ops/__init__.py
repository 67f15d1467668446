"""The operations of Sections 3.1 and 3.2 and their backends: local attention, attention in the blocks of a stem, batch norm."""

from sasa.ops.api import local_attention, resolve
from sasa.ops.batch_norm import batch_norm
from sasa.ops.projected import projected_attention
from sasa.ops.stem.api import stem_attention

__all__ = ["batch_norm", "local_attention", "projected_attention", "resolve", "stem_attention"]
