"""What is recorded of a run: one typed record, which a job writes, the report reads, and both parts of it on disk."""

import re
from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from sasa.records.files import load_json

NAMES = ("key", "semantics", "table", "row", "rows", "scale", "seed", "variant")
CONFIGURED = ("command", "config", "defaults")  # in config.json, with NAMES; the rest is in result.json, with NAMES too
HEARD = ("heard", "step", "seconds_a_step")  # in heartbeat.json, while it runs
IMAGES = re.compile(r"(^|,)images=[0-9a-f]{8}(?=,|$)")  # what Record adds to a variant
RECORDED = ConfigDict(allow_inf_nan=False, extra="ignore")


def called(table: str | None, row: str | None, scale: str, seed: int | str, variant: str) -> str:
    """What people read: "table4=k7 seed=1", with the scale and other overrides where they are not the plain ones."""
    plain = {"scale=demo", "seed=0"}
    parts = (f"{table}={row}" if table else "run", f"scale={scale}", f"seed={seed}", variant)
    return " ".join(part for part in parts if part and part not in plain)


@dataclass(frozen=True, config=RECORDED)
class Costs:
    """FLOPs of one image (a multiply-add is 2) and parameters: plain counts."""

    flops: float
    params: float


@dataclass(frozen=True, kw_only=True, config=RECORDED)
class Run:
    """A run: what it is called, how it is configured (config.json), and what has become of it (result.json)."""

    folder: str = ""  # below outputs/; where the files lie, not in them
    key: str = ""
    semantics: int = 1  # config.identity.SEMANTICS of the sasa that wrote it
    table: str | None = None
    row: str | None = None
    rows: list[list[str]] = field(default_factory=list)  # the paper's rows, as [table, row], that are this very run
    scale: str
    seed: int
    variant: str
    command: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)  # those that config departs from, by dotted name
    status: Literal["finished", "running", "failed", "interrupted"] = "interrupted"
    reason: str | None = None
    same_as: str | None = None  # the folder of the run that this one is a copy of
    pid: int | None = None
    host: str = ""
    job: str | None = None  # of Slurm
    started: str = ""
    heard: str = ""  # when its process last wrote a line of metrics
    step: int | None = None  # the one of that line
    seconds_a_step: float | None = None  # validation included, since that process began
    finished: str = ""
    data: str = ""
    images: dict[str, int] = field(default_factory=dict)  # of each split
    epochs: int | None = None
    epochs_done: int | None = None
    steps_per_epoch: int | None = None
    accuracy: dict[str, dict[str, float | None]] = field(default_factory=dict)  # by split; None: nothing to measure
    costs: Costs | None = None
    paper_costs: Costs | None = None  # at the paper's size
    backend: str = ""
    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""  # of sasa; with + where files were changed since
    memory: int | None = None  # the most that the run has held, in bytes: of the GPU's, or of the process'
    tracker_url: str = ""
    seconds: float | None = None
    images_per_second: float | None = None
    skipped_images: int | None = None
    skipped: list[str] = field(default_factory=list)  # the first hundred of them

    @property
    def name(self) -> str:
        """What people read."""
        return called(self.table, self.row, self.scale, self.seed, self.variant)

    @property
    def typed(self) -> str:
        """The variant by the command alone: without the images of one's own that were found."""
        return IMAGES.sub("", self.variant).strip(",")

    @property
    def names(self) -> set[str]:
        """What is called for by a command that this very run answers: its own, or that of another row."""
        rows = [(self.table, self.row), *self.rows]
        return {called(table, row, self.scale, self.seed, self.typed) for table, row in rows}

    @property
    def flops(self) -> float | None:
        return self.costs.flops if self.costs else None

    @property
    def params(self) -> float | None:
        return self.costs.params if self.costs else None

    @property
    def paper_flops(self) -> float | None:
        return self.paper_costs.flops if self.paper_costs else None

    @property
    def paper_params(self) -> float | None:
        return self.paper_costs.params if self.paper_costs else None

    @property
    def began(self) -> bool:
        """False of a run that failed before it could begin."""
        return self.status != "failed" or self.epochs is not None

    @property
    def generated(self) -> bool:
        """Whether its images are generated (conf/data/shapes_*.yaml)."""
        return self.data == "shapes"

    @property
    def complete(self) -> bool:
        """Whether it is finished, with nothing missing of what a table shows."""
        return self.status == "finished" and all((self.accuracy, self.costs, self.paper_costs, self.seconds))

    def measured(self, split: str) -> dict[str, float]:
        """The measures on a split that there was something to measure for."""
        return {name: value for name, value in self.accuracy.get(split, {}).items() if value is not None}

    def configured(self) -> dict[str, Any]:
        """The content of config.json."""
        return {name: value for name, value in asdict(self).items() if name in (*NAMES, *CONFIGURED)}

    def result(self) -> dict[str, Any]:
        """The content of result.json."""
        return {name: value for name, value in asdict(self).items() if name not in (*CONFIGURED, *HEARD, "folder")}


_RUN = TypeAdapter(Run)


def parse(folder: str, content: Mapping[str, Any]) -> Run:
    """The record in what the files hold; ValueError says what of it is not as a run's."""
    try:
        return _RUN.validate_python({**content, "folder": folder})
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].lower()}" for one in error.errors(include_url=False)
        ]
        raise ValueError("; ".join(problems[:3])) from error


def read_result(folder: Path) -> Run | None:
    """The run in a folder by its result.json alone, or None where there is none that can be read."""
    try:
        return parse("", load_json(folder / "result.json"))
    except (OSError, ValueError, RecursionError):
        return None
