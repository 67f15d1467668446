"""Benchmarks: the operation and the networks against what else computes them, contenders alternating in one process."""
