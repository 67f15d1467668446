"""`python -m sasa.bench gpu`: what a GPU makes of the kernels and networks, in one call of at most eight minutes."""
