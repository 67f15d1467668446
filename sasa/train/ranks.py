"""The ranks of a run, which are its processes: what they tell each other, and how they add up. One by itself waits for nobody.

A rank does its part, then meets the others in `agree`, and only then tensors are exchanged: so an error, which a rank
tells where it would have met them, is raised by all, and nobody waits for what does not come.
"""

import os
import pickle
import signal
import socket
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sasa.errors import InputError, RankLost, Stopped

Some = TypeVar("Some")
PATIENCE = timedelta(days=14)  # of those who wait while the first looks for work; one that has died is noticed at once
MEETING = timedelta(minutes=5)  # of those who begin
GPU_PATIENCE = timedelta(minutes=10)  # of an exchange between GPUs, which all begin together
COUNTS = 2  # numbers that a rank may bring to a meeting
AT_ONCE = 2**21  # numbers in float64 that are exchanged at once: 16 MB


class Told(Exception):
    """What `agree` raises on all ranks: the error of one of them."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def join() -> None:
    """Meet the other ranks, by what torchrun has put into the environment: MASTER_ADDR, MASTER_PORT, WORLD_SIZE, RANK.

    Until they have met, a signal ends this process: there is nothing to save, and a handler would wait for the meeting.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    with talking():
        store, own, ranks = next(dist.rendezvous("env://", timeout=MEETING))
        # torchrun starts its ranks again beside the same store, where those before them left their addresses.
        store = dist.PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        dist.init_process_group("gloo", store=store, rank=own, world_size=ranks, timeout=PATIENCE)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def leave() -> None:
    """Be alone from here on: the others notice, and end."""
    if dist.is_initialized():
        with suppress(Exception):
            dist.destroy_process_group()


def size() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this process is."""
    return dist.get_rank() if dist.is_initialized() else 0


@cache
def group(kind: str) -> Any:
    """Who carries tensors of a kind of device between ranks: gloo between CPUs, NCCL between GPUs."""
    return dist.new_group(backend="nccl", timeout=GPU_PATIENCE) if kind == "cuda" else None


@contextmanager
def talking() -> Iterator[None]:
    """Within it, what torch.distributed raises is RankLost, and closes the connections: all the others learn of it, too."""
    try:
        yield
    except RuntimeError as error:
        leave()
        reason = str(error).partition("\n")[0]
        raise RankLost(f"another rank has ended without a word, or cannot be reached ({reason})") from error


def check_share(micro_batches: int, config_says: str) -> None:
    """InputError unless each rank gets as many of a step's micro-batches."""
    if micro_batches % size():
        divisors = [str(ranks) for ranks in range(1, micro_batches + 1) if micro_batches % ranks == 0]
        raise InputError(
            f"{size()} ranks cannot share the {micro_batches} micro-batches of a step ({config_says}) equally: start "
            f"{' or '.join(divisors)} of them, or choose another train.micro_batch (batch norm then sees other images "
            "together, so it is another run)"
        )


def agree(*counts: int, news: Any = None, error: Exception | None = None) -> tuple[list[int], list[Any]]:
    """Meet the others. Returns the sums of the counts over all ranks, and the news of those who have any.

    Told where a rank came with an error.
    """
    if size() == 1:
        return list(counts), [news] if news else []
    brought = torch.tensor([int(bool(news) or error is not None), *counts, *[0] * (COUNTS - len(counts))])
    with talking():
        dist.all_reduce(brought)
        said, *sums = brought.tolist()
        words = gather((error, news)) if said else []
    for number, (other, _) in enumerate(words):
        if other is not None:
            raise Told(error if error is not None and number == rank() else other)
    return sums, [word for _, word in words if word]


@contextmanager
def one_for_all() -> Iterator[None]:
    """Within it, an exception of one rank is raised by all of them; one that is stopped in the middle leaves the others."""
    try:
        yield
    except (RankLost, Stopped):
        raise
    except Told as told:
        raise told.error from told.error.__cause__
    except Exception as error:
        if size() > 1:
            with suppress(RankLost):
                tell(error)
        raise
    except BaseException:
        leave()
        raise


def tell(error: Exception) -> None:
    """Raise an error here and on the other ranks, with a note of where it happened; that of a lower rank comes first."""
    where = f"on rank {rank()}, {socket.gethostname()}:\n{''.join(traceback.format_exception(error))}"
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:  # an exception may ask for arguments that it does not keep
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    if rank():
        copy.add_note(where)
    try:
        agree(error=copy)
    except Told as told:
        if told.error is copy:
            raise error from error.__cause__
        raise told.error from None


def gather(value: Some) -> list[Some]:
    """What each rank has, in their order, after they have agreed."""
    if size() == 1:
        return [value]
    values: list[Any] = [None] * size()
    with talking():
        dist.all_gather_object(values, value)
    return values


def in_turn(values: Sequence[Some]) -> list[Some]:
    """The results of batches that ranks took in turn, in the order of the batches."""
    agree()
    parts = gather(list(values))
    return [part[place] for place in range(len(parts[0])) for part in parts if place < len(part)]


def from_first(value: Any) -> Any:
    """What rank 0 gives, on all ranks."""
    if size() == 1:
        return value
    agree()
    values = [value]
    with talking():
        dist.broadcast_object_list(values, src=0)
    return values[0]


def begin_alike(model: nn.Module) -> None:
    """Give a network the weights that rank 0 has."""
    if size() > 1:
        model.load_state_dict(from_first(model.state_dict() if rank() == 0 else None))


def rows_of_all(rows: Tensor) -> Tensor:
    """The rows (N, ...) of each rank, those of rank 0 first, as (ranks x N, ...), after they have agreed."""
    if size() == 1:
        return rows
    everyone = rows.new_empty(size() * len(rows), *rows.shape[1:])
    with talking():
        dist.all_gather_into_tensor(everyone, rows.contiguous(), group=group(rows.device.type))
    return everyone


def sum_of_all(numbers: Tensor) -> None:
    """Put the sum over ranks of as many numbers in their place, after they have agreed."""
    if size() > 1:
        with talking():
            for part in numbers.split(AT_ONCE):
                dist.all_reduce(part, group=group(part.device.type))
