"""What a run's folder holds beside the record that the tables are made from: curves, costs, pictures, the log."""

import csv
import hashlib
import io
import json
import math
from dataclasses import dataclass
from typing import Any

from sasa.records.files import Place, read_json
from sasa.records.metrics import lines_by_split
from sasa.records.result import Run

Curves = dict[str, dict[str, list[float | None]]]  # {"train": {"x": epochs, "loss": [...], ...}, "validation": ...}


def read_curves(path: Place, steps_per_epoch: int | None) -> Curves:
    """The curves by split; {} without a readable file."""
    try:
        splits = lines_by_split(path.read_bytes())
    except OSError:
        return {}
    records = {split: parsed(lines) for split, lines in splits.items()}
    return {split: columns(lines, steps_per_epoch) for split, lines in records.items() if lines}


def parsed(lines: list[bytes]) -> list[dict[str, Any]]:
    """The records in lines, those that say where in the run they stand."""
    try:
        records = json.loads(b"[" + b",".join(lines) + b"]")
    except ValueError:
        records = [record for line in lines if (record := readable(line))]
    return [record for record in records if placed(record)]


def readable(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def placed(record: dict[str, Any]) -> bool:
    return short(record.get("epoch")) is not None and short(record.get("step")) is not None


def columns(records: list[dict[str, Any]], per_epoch: int | None) -> dict[str, list[float | None]]:
    """Records as lists by name; "x" is the time in epochs. `per_epoch`: steps, if they are known."""
    names = dict.fromkeys(name for record in records for name in record if name not in ("split", "epoch", "step"))
    last = max(record["step"] for record in records) + 1
    xs = [
        record["step"] / per_epoch if per_epoch else record["epoch"] - 1 + record["step"] / last for record in records
    ]
    return {"x": [short(x) for x in xs], **{name: [short(r.get(name)) for r in records] for name in names}}


def short(value: object) -> float | None:
    """A finite number to three digits and more, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return round(value, 3) if abs(value) >= 0.1 else float(f"{value:.3g}")


PICTURES = ("samples.png", "attention.png")
NOTES = "notes.txt"  # written by people
LOG_LINES, LOG_BYTES = 40, 16_000


@dataclass(frozen=True)
class Layer:
    """Costs of one layer of the network as run: plain counts."""

    name: str
    kind: str
    flops: float
    params: float


@dataclass(frozen=True)
class Setting:
    """One value of a configuration; default is None where it is the default."""

    name: str
    value: str
    default: str | None


@dataclass(frozen=True)
class Details:
    """One run's files, as far as they are there."""

    settings: tuple[Setting, ...]
    layers: tuple[Layer, ...]
    attention: dict[str, Any] | None
    pictures: tuple[str, ...]
    by_class: tuple[tuple[str, ...], ...]  # rows of text: class, AP, AP50, AP75
    evaluations: tuple[dict[str, Any], ...]  # on other images: data, accuracy and when
    notes: str
    log: str


def run_id(run: Run) -> str:
    """What a run is called in file names and addresses."""
    return hashlib.sha256(run.folder.encode(errors="surrogatepass")).hexdigest()[:12]


def details(folder: Place, run: Run) -> Details:
    """Read the folder of a run; what is missing or torn there is left out."""
    return Details(
        settings=settings_of(run),
        layers=tuple(Layer(**layer) for layer in (read_json(folder / "costs.json") or {}).get("layers", ())),
        attention=read_json(folder / "attention.json"),
        evaluations=tuple((read_json(folder / "evaluations.json") or {}).values()),
        pictures=tuple(name for name in PICTURES if (folder / name).is_file()),
        by_class=read_by_class(folder / "by_class.csv"),
        notes=read_notes(folder),
        log=read_log(folder / "run.log"),
    )


def settings_of(run: Run) -> tuple[Setting, ...]:
    """Every value of the run's configuration, those that differ from the defaults first."""
    settings = [
        Setting(name, value, shown(run.defaults[name]) if name in run.defaults else None)
        for name, value in flat(run.config).items()
    ]
    return tuple(sorted(settings, key=lambda setting: setting.default is None))


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """A configuration as dotted names and values as people type them."""
    entries: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            entries |= flat(value, f"{prefix}{name}.")
        else:
            entries[f"{prefix}{name}"] = shown(value)
    return entries


def shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{','.join(map(shown, value))}]" if isinstance(value, list) else str(value)


def read_by_class(path: Place) -> tuple[tuple[str, ...], ...]:
    """The APs of each class of a detector, without the heading."""
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            return tuple(tuple(row[:4]) for row in list(csv.reader(file))[1:] if row)
    except (OSError, csv.Error):
        return ()


def read_notes(folder: Place) -> str:
    """What someone wrote about the run in a folder."""
    try:
        return (folder / NOTES).read_bytes()[:LOG_BYTES].decode(errors="replace").strip()
    except OSError:
        return ""


def read_log(path: Place) -> str:
    """The last lines of run.log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, io.SEEK_END) - LOG_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-LOG_LINES:])
