"""Ranks of one thread each against one process with as many threads: the training's own steps of full SASA-50."""

import os
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.multiprocessing as processes

from sasa.bench.measure import peak_bytes
from sasa.config import compose
from sasa.config.identity import Identity, at_paper_size
from sasa.data.build import splits
from sasa.models.build import network
from sasa.records.folder import Record
from sasa.train import ranks
from sasa.train.classification import Classification
from sasa.train.loop import Trainer

SIDE, CLASSES = 64, 8


@dataclass(frozen=True)
class Contender:
    """So many processes with so many threads each, which take a step of `micro_batches` together."""

    ranks: int
    threads: int
    micro_batches: int

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.ranks} ranks, 1 thread" if self.ranks > 1 else f"1 process, {threads}"


def run(batch: int, micro_batches: int, rounds: int) -> list[dict[str, Any]]:
    """Rows of the table: medians of a step's seconds, its CPU time in all processes, and the exchange's part of it."""
    contenders = [Contender(1, 1, micro_batches)]
    contenders += [Contender(*pair, micro_batches) for many in (2, 4) for pair in ((1, many), (many, 1))]
    with ExitStack() as stack:
        groups = {contender: stack.enter_context(group(contender, batch)) for contender in contenders}
        results: dict[Contender, list[list[dict[str, float]]]] = {contender: [] for contender in contenders}
        for _ in range(rounds + 1):  # the first one warms up
            for contender, connections in groups.items():
                for connection in connections:
                    connection.send("step")
                results[contender].append([connection.recv() for connection in connections])
    return [row(contender, steps, batch) for contender, steps in results.items()]


def row(contender: Contender, steps: list[list[dict[str, float]]], batch: int) -> dict[str, Any]:
    """What the ranks told of each step, as a row."""
    others = steps[1:]
    step = statistics.median(max(one["seconds"] for one in ranks) for ranks in others)
    return {
        "table": "ranks",
        "network": str(contender),
        "step_ms": 1e3 * step,
        "images_a_second": batch / step,
        "cpu_ms": 1e3 * statistics.median(sum(one["cpu"] for one in ranks) for ranks in others),
        "exchange_ms": 1e3 * statistics.median(max(one["exchange"] for one in ranks) for ranks in others),
        "peak_mb": max(one["peak"] for one in others[-1]) / 1e6,
        "failure": "",
    }


@contextmanager
def group(contender: Contender, batch: int) -> Iterator[list[Connection]]:
    """The processes of a contender, each at the end of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    context = processes.get_context("spawn")
    connections, started = [], []
    for number in range(contender.ranks):
        here, there = context.Pipe()
        process = context.Process(target=take_steps, args=(contender, number, port, batch, there), daemon=True)
        process.start()
        connections.append(here)
        started.append(process)
    try:
        yield connections
    finally:
        for connection in connections:
            connection.send("end")
        for process in started:
            process.join()


def take_steps(contender: Contender, number: int, port: int, batch: int, connection: Connection) -> None:
    """One rank: train a step whenever it is told to, and tell what it took."""
    torch.set_num_threads(contender.threads)
    if contender.ranks > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {"RANK": str(number), "WORLD_SIZE": str(contender.ranks)}
        ranks.join()
    micro_batch = batch // contender.micro_batches
    with tempfile.TemporaryDirectory() as folder:
        trainer = trained(folder, batch, micro_batch)
        images = torch.randn(micro_batch, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(CLASSES, (micro_batch,))
        exchanged = timed_exchange()
        while connection.recv() == "step":
            exchanged.clear()
            began, cpu = time.perf_counter(), time.process_time()
            peak = peak_bytes([lambda: trainer.train_step([(images, labels)] * trainer.share)], trainer.device)
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            connection.send({"seconds": seconds, "cpu": cpu, "exchange": sum(exchanged), "peak": peak or float("nan")})
    ranks.leave()


def trained(folder: str, batch: int, micro_batch: int) -> Trainer:
    """What trains Table 1's full_50 at full width on small images."""
    compose.register()
    words = ["table1=full_50", f"train.batch={batch}", f"train.micro_batch={micro_batch}", f"output={folder}"]
    config = compose.compose_row([*words, f"data.size={SIDE}", "tracker=none", "device=cpu"])
    task = Classification(config, splits(config.data))
    record = Record(config, Identity(None, None, (), ""))
    return Trainer(network(at_paper_size(config)), task, config, torch.device("cpu"), record)


def timed_exchange() -> list[float]:
    """A list that the seconds of each exchange of gradients go to from now on."""
    exchange, seconds = ranks.sum_of_all, []

    def timed(numbers: torch.Tensor) -> None:
        began = time.perf_counter()
        exchange(numbers)
        seconds.append(time.perf_counter() - began)

    ranks.sum_of_all = timed
    return seconds
