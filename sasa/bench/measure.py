"""Times and peak memory of contenders that alternate in one process, so that a busy machine slows all of them alike."""

import ctypes
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

Step = Callable[[], object]


@dataclass
class Result:
    """One contender: seconds of each round by phase, by the clock and of CPU time; bytes at the peak, or why it did not run."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    cpu_seconds: dict[str, list[float]] = field(default_factory=dict)
    peak: int | None = None
    failure: str = ""

    def median(self, phase: str) -> float:
        """Median seconds of a phase; NaN where it did not run."""
        return statistics.median(self.seconds[phase]) if self.seconds.get(phase) else float("nan")

    def cpu_median(self, phase: str) -> float:
        """The same of CPU time, which other programs lengthen less."""
        return statistics.median(self.cpu_seconds[phase]) if self.cpu_seconds.get(phase) else float("nan")


def alternate(contenders: dict[str, dict[str, Step]], rounds: int, device: torch.device) -> dict[str, Result]:
    """Run every phase of every contender once to warm up, once for its memory, then `rounds` times in turn."""
    results = {name: Result() for name in contenders}
    for name, phases in contenders.items():
        try:
            for step in phases.values():
                step()
            results[name].peak = peak_bytes(phases.values(), device)
        except Exception as error:  # a contender that cannot run here is a row of the table
            results[name].failure = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:100]
    for _ in range(rounds):
        for name, phases in contenders.items():
            if results[name].failure:
                continue
            for phase, step in phases.items():
                clock, cpu = seconds(step, device)
                results[name].seconds.setdefault(phase, []).append(clock)
                results[name].cpu_seconds.setdefault(phase, []).append(cpu)
    return results


def seconds(step: Step, device: torch.device) -> tuple[float, float]:
    """One call's time by the clock, and the CPU time of all threads."""
    synchronize(device)
    start, cpu = time.perf_counter(), time.process_time()
    step()
    synchronize(device)
    return time.perf_counter() - start, time.process_time() - cpu


def synchronize(device: torch.device) -> None:
    """Wait for the GPU, if it is one."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(steps: Iterable[Step], device: torch.device) -> int | None:
    """Memory that the steps take at their peak above what was in use before; None where the system does not tell."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        for step in steps:
            step()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what earlier steps freed goes back, or these would take it unseen
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    except (OSError, AttributeError):
        return None
    before = resident("VmRSS")
    for step in steps:
        step()
    return max(0, resident("VmHWM") - before)


def kernels(step: Step, device: torch.device) -> list[tuple[str, float]]:
    """Names and milliseconds a call of what a step runs on the device, the longest first; on a CPU of operations."""
    gpu = device.type == "cuda"
    calls = 3 if gpu else 1
    with profile(activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU]) as profiler:
        for _ in range(calls):
            step()
        synchronize(device)
    where = DeviceType.CUDA if gpu else DeviceType.CPU
    found = [x for x in profiler.key_averages() if x.device_type == where and not x.is_user_annotation]
    times = [(x.key, (x.self_device_time_total if gpu else x.self_cpu_time_total) / 1e3 / calls) for x in found]
    return sorted(times, key=lambda x: -x[1])


def resident(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) * 1024 for x in lines if x.startswith(name))
