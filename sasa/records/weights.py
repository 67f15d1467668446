"""Where a backbone starts: a finished classification run of ours, or a file of weights."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sasa.config import PROGRAM
from sasa.config.identity import AXES, axes_of, differences, network, rows_like
from sasa.config.schema import Config
from sasa.errors import InputError
from sasa.records.files import read_json

OWN = "table1"
WEIGHTS = "weights.safetensors"  # of a finished run, those that are evaluated


def weights_of(config: Config) -> Path:
    """The file that backbone.weights names; table1 alone stands for its row with this very backbone.

    Of a row's several runs it is the one of this network and seed that starts elsewhere itself.
    """
    named = str(config.backbone.weights)
    given = f"{OWN}/{own_row(config)}" if named == OWN else named
    return find_weights(given, config.output, config)


def find_weights(given: str, output: str, config: Config | None = None) -> Path:
    """A file of weights, or the one of a run's folder, here or below `output`. Of a run it is finished.

    A row's folder, such as table1/full_50, stands for the run in it, or the one that suits the `config` of the run which is
    to start from it; InputError names them where there are several.
    """
    of = "backbone.weights=" if config else ""
    places = [Path(path).expanduser().absolute() for path in (given, Path(output) / given)]
    for place in places:
        if place.is_file():
            if not of_run(place):
                return place
            if place.name == "checkpoint.pt":
                return finished(place.parent)
            check_finished(place.parent)
            return place
        if (place / "result.json").is_file():
            return finished(place)
    folders = sorted({path.parent for place in places for path in place.glob("*/result.json")})
    if config:
        folders = suiting(folders, config)
    if len(folders) == 1:
        return finished(folders[0])
    if folders:
        known = [folder for folder in folders if recorded(folder).get("status") == "finished"] or folders
        names = " or ".join(f"'{of}\"{folder}\"'" if of else f"'{folder}'" for folder in known[:3])
        raise InputError(f"{of}{given} has {len(folders)} runs: name one of them, as in {names}")
    raise InputError(
        f"{of}{given}: there is no such file and no run there or in {places[1]}: give a finished run "
        f"(train one, as in {PROGRAM} table1=full_50){', or a file of torchvision or timm' if of else ''}"
    )


def of_run(path: Path) -> bool:
    """Whether a file is one that a run left: its weights, those of an epoch that it kept, or its checkpoint."""
    return (path.suffix == ".safetensors" or path.name == "checkpoint.pt") and (path.parent / "result.json").is_file()


def suiting(folders: list[Path], config: Config) -> list[Path]:
    """Runs that do not start from these weights themselves; of this network, if there are any, and then of this seed."""
    made_by = {folder: (read_json(folder / "config.json") or {}).get("config") or {} for folder in folders}
    start = config.backbone.weights
    folders = [folder for folder in folders if made_by[folder].get("backbone", {}).get("weights") != start]
    folders = [folder for folder in folders if not other_backbone(made_by[folder], config)] or folders
    return [folder for folder in folders if made_by[folder].get("seed") == config.seed] or folders


def other_backbone(made_by: Mapping[str, Any], config: Config) -> list[str]:
    """What the backbone of a run's plain configuration has otherwise than this one's; of nothing known, nothing."""
    alone = {"task": {"kind": "classification"}}  # without detection heads
    here = json.loads(json.dumps(asdict(config)))
    before, after = (network({**plain, **alone}) for plain in (made_by or here, here))
    both = before.keys() & after.keys()  # a group that only one of them uses is told by its layers and its stem
    return differences({group: before[group] for group in both}, {group: after[group] for group in both})


def own_row(config: Config) -> str:
    """The row of Table 1 that has a configuration's backbone; InputError where none has."""
    plain = asdict(config)
    axes = axes_of(task="classification") | {axis: plain[axis] for axis in AXES if axis != "task"}
    rows = [row for table, row in rows_like(axes) if table == OWN]
    if not rows:
        raise InputError(
            f"backbone.weights={OWN}: no row of it has this backbone: name a run, a file of weights, or null"
        )
    return rows[0]


def finished(folder: Path) -> Path:
    """The weights of a run that has come to its end, or of the run that it is the same as."""
    same = check_finished(folder).get("same_as")
    places = [folder, *(parent / same for parent in folder.parents)] if same else [folder]
    path = next((place / WEIGHTS for place in places if (place / WEIGHTS).is_file()), None)
    if path is None:
        raise InputError(
            f"the run in {folder} is finished, but {same or folder}/{WEIGHTS} is not there: "
            "train it again with another output=, or give another"
        )
    return path


def check_finished(folder: Path) -> dict[str, Any]:
    """What is recorded of a run; InputError unless it has come to its end."""
    result = recorded(folder)
    if result.get("status") != "finished":
        raise InputError(f"the run in {folder} is not finished ({result.get('status')}): finish it, or give another")
    return result


def recorded(folder: Path) -> dict[str, Any]:
    """What is recorded of the run in a folder, as far as it can be read."""
    return read_json(folder / "result.json") or {}


def fingerprint(path: Path) -> str:
    """What a run's key holds of its weights: the key of the run that they are of, or a hash of the file."""
    key = (read_json(path.with_name("config.json")) or {}).get("key") if path.name == WEIGHTS else None
    return str(key) if key else hashlib.sha256(path.read_bytes()).hexdigest()[:16]
