"""Attention in the blocks of a stem (Section 3.2) with its 4x4 pool, and its backends."""
