"""Where a run computes: the CPU, or a GPU that no other run of ours has."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from sasa.errors import InputError
from sasa.train import ranks


@contextmanager
def taken_device(name: str, output: Path) -> Iterator[torch.device]:
    """The torch device of a name, held until the end; "auto" is a GPU if there is one. InputError without the one asked for.

    Runs side by side, of one sweep or of several, take a GPU each; where there are more runs than GPUs they share them.
    Of the ranks of one run on this machine, each takes the GPU of its number.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda: torch finds no GPU on this machine. Use device=cpu or device=auto")
    if name == "cpu" or not torch.cuda.is_available():
        yield torch.device("cpu")
        return
    count = torch.cuda.device_count()
    mine = [int(os.environ.get("LOCAL_RANK", "0")) % count] if ranks.size() > 1 else range(count)
    names = [str(torch.cuda.get_device_properties(index).uuid) for index in mine]
    with first_free(names, output / ".locks") as place:
        torch.cuda.set_device(mine[place])
        yield torch.device("cuda", mine[place])


@contextmanager
def first_free(names: Sequence[str], locks: Path) -> Iterator[int]:
    """The index of the first of some devices that no process has, held until the end; any, if all are taken."""
    for index, name in enumerate(names):
        lock = FileLock(locks / f"gpu-{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        try:
            yield index
        finally:
            lock.release()
        return
    yield os.getpid() % len(names)
