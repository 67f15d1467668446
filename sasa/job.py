"""One run, from a checked configuration to its result."""

import math
import platform
import time
import traceback
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sasa.config.choices import TaskKind
from sasa.config.schema import Config
from sasa.errors import Diverged, InputError, Interrupted
from sasa.record import Identity, Record, now, read_json

COPIED = ("metrics.jsonl", "samples.png", "by_class.csv", "costs.json", "attention.json", "attention.png")
TABLE_COLUMNS = (
    "row",
    "status",
    "flops_published",
    "flops",
    "params_published",
    "params",
    "seeds",
)


class RunFailed(Exception):
    """A run that failed, in one line; its record tells more."""


def run(config: Config, identity: Identity, console: Console) -> tuple[dict[str, Any], Path]:
    """Train and evaluate one configuration, or find it finished. Returns the content of result.json and its folder."""
    record = Record(config, identity)
    with record.held():
        record.prepare()
        try:
            result = finished(record, console)
        except OSError as error:
            raise InputError(f"cannot write to {record.folder}: {error.strerror or error}") from error
        if result is None:
            result = recorded(record, console)
    return result, record.folder


def complete(folder: Path, key: str) -> dict[str, Any] | None:
    """The content of a folder's result.json if it is that of a finished run of this key, with nothing missing."""
    result = read_json(folder / "result.json")
    if not result or result.get("status") != "finished" or result.get("key") != key:
        return None
    return result if all(result.get(name) for name in ("accuracy", "costs", "paper_costs", "seconds")) else None


def finished(record: Record, console: Console) -> dict[str, Any] | None:
    """The result of this key if a run of it is finished, here or in another folder (several tables share rows)."""
    result = complete(record.folder, record.key)
    if result:
        console.print(f"{record.identity.title} is finished already: nothing is trained", highlight=False)
        return result
    for folder in record.others():
        result = complete(folder, record.key)
        if result:
            source = result.get("same_as") or folder.relative_to(record.output).as_posix()
            console.print(
                f"{record.identity.title} is the run of {source}, which is finished: nothing is trained",
                highlight=False,
                soft_wrap=True,
            )
            record.write_config()
            record.result = result
            for name in COPIED:
                with suppress(FileNotFoundError):
                    record.path(name).write_bytes((folder / name).read_bytes())
            record.write_result("finished", same_as=source)
            return record.result
    return None


def recorded(record: Record, console: Console) -> dict[str, Any]:
    """Train, and leave a record of whatever comes of it."""
    try:
        record.write_config()
        record.write_result("running", started=now())
        return train(record, console)
    except (Interrupted, KeyboardInterrupt) as error:
        note_end(record, "interrupted", "stopped by the user", str(error))
        command = record.identity.command
        console.print(
            f"[yellow]Stopped.[/] The same command goes on from the last checkpoint:\n  {escape(command)}",
            highlight=False,
            soft_wrap=True,
        )
        raise
    except InputError as error:
        note_end(record, "failed", str(error), str(error))
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if isinstance(error, OSError):
            reason = f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}"
        if isinstance(error, Diverged):
            reason = str(error)
        note_end(record, "failed", reason, traceback.format_exc())
        kept = ". The last good checkpoint is kept" if record.path("checkpoint.pt").exists() else ""
        if kept and not isinstance(error, Diverged):
            kept += ": the same command goes on from it"
        raise RunFailed(f"{reason}{kept}. More in {record.path('run.log')}") from error


def note_end(record: Record, status: str, reason: str, log: str) -> None:
    """Write what ended the run, as far as the disk allows."""
    with suppress(OSError):
        record.log(log)
    with suppress(OSError):
        record.write_result(status, reason=reason)


def train(record: Record, console: Console) -> dict[str, Any]:
    """The work itself: check everything, count the costs, train, evaluate, write the result."""
    import torch

    from sasa import ops
    from sasa.cost import at_paper_size, cost, cost_and_layers
    from sasa.data.build import splits
    from sasa.models.build import network, set_bn_decay
    from sasa.train.classification import Classification
    from sasa.train.detection import Detection
    from sasa.train.loop import Trainer, require_device, seed_everything
    from sasa.train.pretrained import load_backbone
    from sasa.train.track import open_tracker

    config = record.config
    device = require_device(config.device)
    backend = ops.resolve(config.kernel.backend, device, torch.bfloat16 if config.train.amp else torch.float32)
    (costs, layers), paper_costs = cost_and_layers(config), cost(at_paper_size(config))
    detection = config.task.kind is TaskKind.detection
    data = splits(config.data, boxes=detection)
    seed_everything(config.seed, 0)
    model = network(config)
    set_bn_decay(model, config.train.bn_decay)
    if config.backbone.weights is not None:
        record.log(f"backbone from {load_backbone(model, config)}")
    task = Detection(config, data) if detection else Classification(config, data)
    trainer = Trainer(model, task, config, device, record)
    state = last_checkpoint(record, device)
    if state:
        trainer.load(state)
        console.print(f"going on from step {trainer.steps_done} of {trainer.steps}", highlight=False)
    record.log(f"{record.identity.command} on {device}, attention by {backend}, key {record.key}")
    facts = {
        "data": config.data.name,
        "epochs": config.train.epochs,
        "steps_per_epoch": trainer.steps_per_epoch,
        "costs": costs,
        "paper_costs": paper_costs,
        "backend": backend,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("torch", "torchvision", "timm", "sasa")},
    }
    record.write_result("running", **facts)
    record.write_json("costs.json", {"layers": layers})
    tracker = open_tracker(config, asdict(config), record, console)
    result: dict[str, Any] = {}
    try:
        record.write_result("running", tracker_url=tracker.url)
        trainer.run(console, tracker)
        result = conclude(trainer, record)
        for name in ("samples", "attention"):
            if record.path(f"{name}.png").exists():
                tracker.picture(name, record.path(f"{name}.png"))
        send_table(tracker, record)
    finally:
        accuracy = {
            f"{split}/{name}": value
            for split, means in result.get("accuracy", {}).items()
            for name, value in means.items()
            if value is not None
        }
        tracker.close({**accuracy, **costs, "paper": paper_costs, "backend": backend}, failed=not result)
    return result


def last_checkpoint(record: Record, device: Any) -> dict[str, Any] | None:
    """The furthest checkpoint of this key, of this folder or of another one that was left unfinished."""
    from sasa.train import checkpoint

    best = None
    for folder in (record.folder, *record.others()):
        path = folder / "checkpoint.pt"
        if path.exists():
            state = checkpoint.load(path, device)
            if state["key"] != record.key:
                raise InputError(
                    f"{path} is of another configuration. Remove it, or give another folder with output=<folder>"
                )
            place = (state["progress"]["epoch"], state["progress"]["step"])
            if best is None or place > best[0]:
                best = (place, state)
    return best[1] if best else None


def conclude(trainer: Any, record: Record) -> dict[str, Any]:
    """Evaluate on the test images, save a sheet of them, and write the result."""
    progress, config = trainer.progress, record.config
    started = time.monotonic()
    test = trainer.evaluate(trainer.splits.test)
    if not math.isfinite(test.get("loss", 0.0)):
        raise Diverged(f"the loss on the test images is {test['loss']}: try a lower train.lr")
    trainer.picture(trainer.splits.test)
    last = next((line for line in reversed(progress.history) if line["split"] == "validation"), None)
    accuracy = ({"validation": {name: last[name] for name in test}} if last else {}) | {"test": test}
    record.write_result(
        "finished",
        accuracy=accuracy,
        epochs_done=progress.epoch,
        seconds=round(progress.seconds + time.monotonic() - started, 2),
        images_per_second=round(progress.images / max(progress.seconds, 1e-9), 2),
        skipped_images=len(progress.skipped),
        skipped=progress.skipped[:100],
        finished=now(),
    )
    measures = ", ".join(f"{split} {trainer.task.summary(means)}" for split, means in accuracy.items())
    record.log(f"finished: {measures}, {config.scale.name}")
    return record.result


def send_table(tracker: Any, record: Record) -> None:
    """The run's table of the paper as it stands now, to the tracker."""
    from sasa.report.collect import collect
    from sasa.report.paper import MEASURES, find_table
    from sasa.report.tables import NOTHING, compare

    identity = record.identity
    if identity.table is None:
        return
    runs = collect(record.output).runs
    table = find_table(identity.table)
    rows = []
    for line in compare(table, runs, record.config.scale.name, ",".join(identity.variant)).lines:
        scores = [line.scores.get(measure, NOTHING) for measure in table.measures]
        numbers = [number for score in scores for number in (score.published, score.mean)]
        rows.append([*(getattr(line, name) for name in TABLE_COLUMNS), *numbers])
    columns = [*TABLE_COLUMNS, *(name for measure in table.measures for name in (f"{measure}_published", measure))]
    tracker.table(identity.table, columns, rows)
    first = table.measures[0]
    points = [row for row in rows if row[columns.index(first)] is not None]
    for cost in ("flops", "params"):
        tracker.figure(f"{identity.table}: {MEASURES[first]} against {cost}", columns, points, cost, first)
