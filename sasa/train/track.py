"""W&B, or TensorBoard, beside the run's own files. W&B: online when logged in, else offline, and never in a run's way."""

import json
import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, wraps
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.markup import escape

from sasa.config.choices import TaskKind, TrackerKind
from sasa.config.schema import Config
from sasa.errors import InputError
from sasa.records.folder import Record
from sasa.records.source import changes, repository

# How long a W&B server that does not answer may keep a run waiting, where no variable of W&B's says otherwise; its login adds 10.
LIMITS = {"init_timeout": 20.0, "finish_timeout": 60.0}


class Tracker:
    """Where curves, a summary, pictures, the table and its figures go: here nowhere, which is tracker=none."""

    url = ""  # the run's page, if it has one

    def log(self, line: dict[str, Any]) -> None:
        """A line of metrics.jsonl."""

    def picture(self, name: str, path: Path, step: int | None = None) -> None:
        """A PNG file, of a step or of the run's end."""

    def summarise(self, values: dict[str, float]) -> None:
        """Numbers that are the run's as a whole, beside its results."""

    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        """A table of results."""

    def figure(self, name: str, columns: list[str], rows: list[list[Any]], x: str, y: str) -> None:
        """A scatter plot of two columns of a table."""

    def close(self, summary: dict[str, Any], failed: bool) -> None:
        """The end of the run, finished or not."""


def forgiving(method: Callable[..., None]) -> Callable[..., None]:
    """A method of WandbTracker whose first error is the last that W&B is told before the run's end, and not the run's."""

    @wraps(method)
    def tried(self: "WandbTracker", *arguments: Any, **named: Any) -> None:
        if not self.given_up:
            try:
                method(self, *arguments, **named)
            except Exception as error:
                self.given_up = True
                warn(self.console, f"W&B failed ({said(error)}): the rest of this run is kept in its own files only")

    return tried


class WandbTracker(Tracker):
    """A W&B run: group = table, name = row and seed, id = the run's key, so that a resumed run goes on in the same one."""

    def __init__(self, config: dict[str, Any], record: Record, console: Console) -> None:
        import wandb  # half a second, and tracker=none needs none

        self.wandb, self.console, self.given_up = wandb, console, False
        tracker, identity = record.config.tracker, record.identity
        name = f"{identity.title} seed={record.config.seed}"
        fields = {"table": identity.table, "row": identity.row, "variant": ",".join(identity.variant)}
        arguments: dict[str, Any] = {
            "project": tracker.project or os.environ.get("WANDB_PROJECT") or "sasa",
            "entity": tracker.entity,
            "group": identity.table or "run",
            "job_type": record.config.task.kind,
            "name": ",".join((name, *identity.variant)),
            "id": record.key,
            "resume": "allow",
            "config": config | {name: content for name, content in fields.items() if content},
            "dir": os.environ.get("WANDB_DIR") or str(record.folder),
            "tags": [record.config.scale.name, *tags()],
            "settings": wandb.Settings(
                silent=True, console="off", finish_timeout_raises=True, git_root=repository(), **limits()
            ),
        }
        measure = "ap" if record.config.task.kind is TaskKind.detection else "top1"
        mode: Any = os.environ.get("WANDB_MODE") or "online"
        try:
            if mode == "online" and not wandb.login(prompt=False):
                mode = "offline"
            self.run = wandb.init(mode=mode, **arguments)
        except Exception as error:
            if mode != "online":
                raise
            warn(console, f"W&B did not answer ({error}): tracking offline")
            self.run = wandb.init(mode="offline", **arguments)
        self.url = "" if self.run.settings._offline else self.run.url or ""
        settings = self.run.settings
        if not (settings.disable_git or settings.disable_code or settings.save_code):  # with the last one W&B does it
            self.save_changes()
        for metric, best in (("train/loss", "min"), ("validation/loss", "min"), (f"validation/{measure}", "max")):
            self.run.define_metric(metric, summary=f"{best},last")

    @forgiving
    def save_changes(self) -> None:
        """Keep as diff.patch in what files of sasa differ from the commit."""
        patch = changes()
        if patch:
            path = Path(self.run.dir) / "diff.patch"
            path.write_bytes(patch)
            self.run.save(str(path), base_path=self.run.dir, policy="now")

    @forgiving
    def log(self, line: dict[str, Any]) -> None:
        values = {
            f"{line['split']}/{name}": value for name, value in line.items() if name not in ("split", "step", "epoch")
        }
        self.run.log({**values, "epoch": line["epoch"]}, step=line["step"])

    @forgiving
    def picture(self, name: str, path: Path, step: int | None = None) -> None:
        self.run.log({name: self.wandb.Image(str(path))}, step=step)

    @forgiving
    def summarise(self, values: dict[str, float]) -> None:
        self.run.summary.update(values)

    @forgiving
    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        self.run.log({name: self.wandb.Table(columns=list(columns), data=rows)})

    @forgiving
    def figure(self, name: str, columns: list[str], rows: list[list[Any]], x: str, y: str) -> None:
        points = self.wandb.Table(columns=list(columns), data=rows)
        self.run.log({name: self.wandb.plot.scatter(points, x, y, title=name)})

    def close(self, summary: dict[str, Any], failed: bool) -> None:
        offline, folder = self.run.settings._offline, shlex.quote(shown(Path(self.run.dir).parent))
        try:
            self.run.summary.update(summary)
            self.run.finish(exit_code=int(failed))
        except TimeoutError:
            seconds = self.run.settings.finish_timeout
            sync = f"`wandb sync --include-online {folder}`"
            warn(self.console, f"W&B did not take all of this run in {seconds:g} seconds: {sync} sends the rest")
        except Exception as error:
            give_up(self.console, "" if self.given_up else "failed", error)
        else:
            if offline:
                self.console.print(escape(f"W&B: kept offline; `wandb sync {folder}` sends it"))


def limits() -> dict[str, Any]:
    """LIMITS but for those that are set by WANDB_INIT_TIMEOUT and WANDB_FINISH_TIMEOUT."""
    return {name: seconds for name, seconds in LIMITS.items() if f"WANDB_{name}".upper() not in os.environ}


def tags() -> list[str]:
    """Those of WANDB_TAGS, which is left without empty ones: W&B reads it, too, and would refuse them."""
    found = [tag.strip() for tag in os.environ.pop("WANDB_TAGS", "").split(",") if tag.strip()]
    if found:
        os.environ["WANDB_TAGS"] = ",".join(found)
    return found


class TensorBoardTracker(Tracker):
    """The same values as event files in the run's folder, for `tensorboard --logdir outputs`.

    It has no scatter plots: what a figure would show are columns of the table.
    """

    def __init__(self, record: Record) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # of the extra tensorboard
        except ImportError as error:
            raise InputError("tracker=tensorboard needs the package tensorboard: pip install tensorboard") from error
        self.open, self.record = SummaryWriter, record
        self.first: int | None = None  # step of this process' first line

    @cached_property
    def writer(self) -> Any:
        """Where an earlier process came further than its checkpoint, its lines from the first step on give way to ours."""
        return self.open(str(self.record.path("tensorboard")), purge_step=self.first)

    def log(self, line: dict[str, Any]) -> None:
        lines = [line]
        if self.first is None:
            self.first = line["step"]
            known = map(json.loads, self.record.path("metrics.jsonl").read_text().splitlines())
            lines = [one for one in known if one["step"] >= self.first]  # an epoch's last step has a line of each split
        for one in lines:
            for name, value in one.items():
                if isinstance(value, int | float) and name != "step":
                    self.writer.add_scalar(f"{one['split']}/{name}", value, one["step"])

    def picture(self, name: str, path: Path, step: int | None = None) -> None:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        self.writer.add_image(name, pixels, step, dataformats="HWC")

    def summarise(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value)

    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join(f"| {' | '.join('' if cell is None else str(cell) for cell in line)} |" for line in lines)
        self.writer.add_text(name, text)

    def close(self, summary: dict[str, Any], failed: bool) -> None:
        self.summarise({f"end/{name}": value for name, value in summary.items() if isinstance(value, int | float)})
        self.writer.close()


def give_up(console: Console, what: str, error: Exception) -> None:
    """Say so, unless it is said, and take W&B down now: what it would do at the end of the process may fail again."""
    if what:
        warn(console, f"W&B {what} ({said(error)}): this run is kept in its own files only")
    with suppress(Exception):  # the import may be what failed
        import wandb

        wandb.teardown()


def said(error: Exception) -> str:
    """What an error says, or its name."""
    return str(error) or type(error).__name__


def warn(console: Console, text: str) -> None:
    """One yellow line."""
    line = escape(" ".join(text.split()))
    console.print(f"[yellow]{line}[/]")


def shown(path: Path) -> str:
    """A path as people would type it here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def open_tracker(config: Config, plain: dict[str, Any], record: Record, console: Console) -> Tracker:
    """The tracker of a configuration. No run fails for want of W&B: what goes wrong there is said, and the run goes on."""
    if config.tracker.kind == TrackerKind.none:
        return Tracker()
    if config.tracker.kind == TrackerKind.tensorboard:
        return TensorBoardTracker(record)
    try:
        return WandbTracker(plain, record, console)
    except Exception as error:
        give_up(console, "could not start", error)
        return Tracker()
