"""`python -m sasa.bench gpu`: all parts, on the GPU or in small on a CPU; what each tells goes to the file as it comes."""

import os
import platform
import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from sasa.bench.gpu import steps, training
from sasa.bench.gpu.parts import SECONDS, stages
from sasa.bench.gpu.report import Report
from sasa.bench.gpu.runner import Outcome, side_by_side
from sasa.bench.gpu.setting import Setting
from sasa.errors import InputError, check
from sasa.ops.triton_backend import missing


def run(device: str, batch: int, file: Path | None, images: Path | None) -> list[str]:
    """Run all parts, print the tables, and return what failed. Raises InputError before anything has begun."""
    console = Console(markup=False, highlight=False)
    if file is None:
        raise InputError("gpu needs a file for what it finds: --to FILE")
    check(device == "cpu" or torch.cuda.is_available(), f"--device {device}: torch finds no GPU on this machine")
    if images is not None and not training.classes(images):
        raise InputError(f"--cifar {images}: expected train/<class>/ and test/<class>/ with images below it")
    check(not missing(), f"gpu measures Triton's kernels, and {missing()}: pip install triton")
    setting = Setting(device, batch, images)
    report = Report(file, conditions(setting))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        report.save()
    except OSError as error:
        raise InputError(f"--to {file}: {error.strerror}") from None
    if setting.small:
        console.print("no GPU: the same code in small on the CPU, Triton in its interpreter. Its times tell nothing.")
        os.environ["TRITON_INTERPRET"] = "1"  # which the parts find
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "4")  # of each of the parts that compile side by side
    began = time.monotonic()
    for stage in stages(setting):
        left = max(1.0, SECONDS * setting.patience - (time.monotonic() - began))
        console.print(f"{time.monotonic() - began:4.0f} s  {', '.join(part.name for part in stage)}")
        side_by_side([replace(part, limit=min(part.limit, left)) for part in stage], report.tell, report.end)
        for outcome in report.parts[-len(stage) :]:
            if outcome.state != "done":
                console.print(f"        {outcome.name} {outcome.state}: {outcome.said}")
    if images is None:
        report.end(Outcome("training", "skipped", 0.0, 0.0, "no images were given: --cifar DIR"))
    report.print(console)
    console.print(f"{file} and {file.with_suffix('.txt')} in {time.monotonic() - began:.0f} s")
    return report.failed


def conditions(setting: Setting) -> dict[str, object]:
    """What everything was measured on, and with."""
    import triton  # not everywhere

    found: dict[str, object] = {"device": platform.processor() or platform.machine()}
    if not setting.small:
        properties = torch.cuda.get_device_properties(0)
        found = {
            "device": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "GB": round(properties.total_memory / 1e9, 1),
            "CUDA": torch.version.cuda,
        }
    sizes = steps.size_of_classifiers(setting), steps.size_of_detectors(setting)
    found |= {"dtype": str(setting.dtype).removeprefix("torch.")}
    found |= {
        name: f"{batch} of {side}x{side}"
        for name, (batch, side) in zip(("classifiers' images", "detectors' images"), sizes, strict=True)
    }
    return found | {
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
    }
