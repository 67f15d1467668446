import os

# Threads that have nothing to do sleep: where another program runs, one that spins keeps the thread it waits for off its
# core, and a run beside another one takes ten times as long (GNU OpenMP reads this when PyTorch is loaded, which comes later).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
