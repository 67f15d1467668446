"""One run, from a checked configuration to its record: found finished, or held, trained, and its end noted."""

import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from sasa import quick
from sasa.data.root import check_root
from sasa.errors import Diverged, InputError, Interrupted, RunFailed
from sasa.records import archive
from sasa.records.files import now
from sasa.records.folder import Record, unwritable
from sasa.records.jobs import own_job
from sasa.records.result import Run, read_result
from sasa.report.tracker import send_table

COPIED = ("metrics.jsonl", *archive.COPIED, "samples.png", "attention.json", "attention.png")


def run(record: Record, console: Console, wait: bool = False) -> tuple[Run, Path]:
    """Train and evaluate one configuration, or find it finished. Returns what is recorded of it, and its folder.

    Busy where another process trains it, unless that one is waited for.
    """
    with record.held(wait):
        record.prepare()
        try:
            record.tidy()
            done = finished(record, console)
        except OSError as error:
            raise unwritable(record.folder, error) from error
        if not done:
            refuse_missing_images(record)
            recorded(record, console)
    return record.run, record.folder


def refuse_missing_images(record: Record) -> None:
    """Raise InputError where the folder of the images is not there, and leave nothing behind."""
    if own_job():  # whoever waits for a job of Slurm reads its reason in its record
        return
    try:
        check_root(record.config.data)
    except InputError:
        record.withdraw()
        raise


def complete(folder: Path, key: str) -> Run | None:
    """The run in a folder if it is a finished one of this key, with nothing missing."""
    known = read_result(folder)
    return known if known and known.key == key and known.complete else None


def finished(record: Record, console: Console) -> bool:
    """Whether a run of this key is finished, here or in another folder (several tables share rows)."""
    here = complete(record.folder, record.key)
    if here:
        record.run = here
        console.print(f"{record.identity.title} is finished already: nothing is trained")
        return True
    for folder in record.others():
        there = complete(folder, record.key)
        if there:
            source = there.same_as or folder.relative_to(record.output).as_posix()
            console.print(f"{record.identity.title} is the run of {source}, which is finished: nothing is trained")
            record.write_config()
            for name in COPIED:
                with suppress(FileNotFoundError):
                    record.path(name).write_bytes((folder / name).read_bytes())
            record.copy_result(there, source)
            return True
    return False


def recorded(record: Record, console: Console) -> None:
    """Train, and leave a record of whatever comes of it."""
    before = record.elsewhere()
    if before:
        console.print(f"[yellow]The images are others than those of {before}: this is a run of its own[/]")
    for meant in advice(record):
        console.print(f"[yellow]{escape(meant)}[/]")
    begun = read_result(record.folder)
    try:
        record.write_config()
        record.write_result("running", started=now(), images=begun.images if begun else {})
        console.print(f"[dim]{escape(record.identity.title)}: loading PyTorch, then the images[/]")
        with quick.imports():  # torch takes seconds to import, and a finished run needs none
            from sasa.train.session import train

        train(record, console, send_table)
    except (Interrupted, KeyboardInterrupt) as error:
        note_end(record, "interrupted", "stopped by the user", str(error))
        command = escape(record.identity.command)
        console.print(f"[yellow]Stopped.[/] The same command goes on from the last checkpoint:\n  {command}")
        raise
    except InputError as error:
        note_end(record, "failed", str(error), str(error))
        raise
    except Exception as error:
        reason = said(error, record)
        note_end(record, "failed", reason, traceback.format_exc())
        kept = ". The last good checkpoint is kept" if record.path("checkpoint.pt").exists() else ""
        if kept and not isinstance(error, Diverged):
            kept += ": the same command goes on from it"
        raise RunFailed(f"{reason}{kept}. More in {record.path('run.log')}") from error


def advice(record: Record) -> Iterator[str]:
    """What was perhaps meant otherwise: a backbone from nothing, or a batch of another size at the recipe's rate and decays."""
    config, given = record.config, " ".join(record.identity.variant)
    if config.data.name == "coco" and config.backbone.weights is None:
        yield (
            "the backbone starts from nothing, where detectors on COCO usually start from ImageNet's weights: "
            "backbone.weights=table1 takes those of its own row of Table 1"
        )
    train = config.train
    images = record.identity.recipe.get("batch", train.batch)  # of a step
    share = train.batch / images
    meant = {"lr": train.lr * share, "ema_decay": train.ema_decay**share, "bn_decay": train.bn_decay**share}
    kept = [name for name in meant if f"train.{name}=" not in given and getattr(train, name)]
    if share != 1 and kept:
        yield (
            f"train.batch={train.batch} keeps what the recipe has for steps of {images} images; "
            f"in proportion it would be {' '.join(f'train.{name}={meant[name]:.6g}' for name in kept)}"
        )


def said(error: Exception, record: Record) -> str:
    """An error in one line."""
    if isinstance(error, Diverged):
        return str(error)
    if type(error).__name__ == "OutOfMemoryError":
        size = record.config.train.micro_batch
        *_, smaller = 0, *(n for n in record.config.micro_batches() if n < size)
        return f"train.micro_batch={size} does not fit the GPU's memory" + (
            f": try train.micro_batch={smaller} (batch norm then sees {smaller} images together, so it is another run); "
            "python -m sasa.fit with the same words finds the largest"
            if smaller
            else ", and no smaller one is left: try a lower data.size or backbone.width, or a larger GPU"
        )
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}"
    return f"{type(error).__name__}: {error}".splitlines()[0]


def note_end(record: Record, status: str, reason: str, log: str) -> None:
    """Write what ended the run, as far as the disk allows."""
    with suppress(OSError):
        record.log(log)
    with suppress(OSError):
        record.write_result(status, reason=reason)
