"""What a run is called, and which runs are the same: the rows of a network, and the key of all that changes numbers."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from sasa.config import CONF, files, own, tables
from sasa.config.choices import TaskKind
from sasa.config.schema import Config
from sasa.errors import InputError, check

SEMANTICS = 4  # raise it when a change of the code changes the numbers of a configuration
AXES = ("task", "backbone", "layers", "extent", "position", "logits", "stem", "detector")
# Settings of the machine, which cannot change a run's numbers.
MACHINE = ("device", "output", "kernel", "tracker", "data.root", "data.workers", "data.download",
           "train.checkpoint_minutes", "train.keep_epochs")  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """What a run is called: the row that it is of, and the overrides beside it."""

    table: str | None
    row: str | None
    variant: tuple[str, ...]  # overrides other than the table, the scale, the seed and those of the machine
    command: str
    rows: tuple[tuple[str, str], ...] = ()  # of the paper, as (table, row), that are this one
    like: tuple[str, str] | None = None  # the row with the same network, for a run that is of none
    defaults: dict[str, Any] = field(default_factory=dict)  # the configuration of a plain run at the same scale
    recipe: dict[str, Any] = field(default_factory=dict)  # where train.batch is given, the option of train beside it

    @property
    def title(self) -> str:
        """What people read: "table4=k3"."""
        return f"{self.table}={self.row}" if self.table else "run"


def variant_of(given: Mapping[str, str], table: str | None) -> tuple[str, ...]:
    """Of overrides by their keys those beside the table, the scale, the seed and the machine's."""
    plain = (table, "scale", "seed")
    return tuple(sorted(line for key, line in given.items() if key not in plain and not is_machine(key)))


def is_machine(key: str) -> bool:
    """Whether an override names a setting of the machine."""
    return any(key == name or key.startswith(f"{name}.") for name in MACHINE)


def folder_name(scale: str, seed: int, variant: tuple[str, ...]) -> str:
    """The last part of a run's folder, such as "scale=demo,seed=0,train.epochs=2"; odd and long ones end in a hash."""
    name = ",".join((f"scale={scale}", f"seed={seed}", *variant))
    plain = re.sub(r"[^\w.,=+\[\]-]", "_", name)
    plain = plain.encode(errors="replace")[:180].decode(errors="ignore")  # a name has 255 bytes
    return plain if plain == name else f"{plain}-{hashed(name)[:8]}"


def key_of(config: Config, images: str = "", weights: str = "") -> str:
    """Hash of all that can change a run's numbers; 16 hexadecimal digits.

    images and weights tell what is read besides the configuration (records/contents.py).
    """
    plain = asdict(config)
    for name in MACHINE:
        group, _, field = name.partition(".")
        if field:
            del plain[group][field]
    for group in ("data", "train"):
        del plain[group]["name"]
    of_detection = ("train_annotations", "test_annotations", "jitter")
    for field in (
        ("area",) if config.task.kind is TaskKind.detection else of_detection
    ):  # what only the other task reads
        del plain["data"][field]
    read = {"images": images, "weights": weights}
    parts = [SEMANTICS, network(plain), plain["data"], plain["train"], plain["seed"], read]
    return hashed(json.dumps(parts, sort_keys=True))


def network(plain: Mapping[str, Any]) -> dict[str, Any]:
    """What makes the network, of a whole configuration as plain groups; what it does not use is left out."""
    detection = plain["task"]["kind"] == "detection"
    attention_heads = detection and plain["detector"]["primitive"] == "attention"
    stem, attention = dict(plain["stem"]), dict(plain["attention"])
    backbone = {"depth": plain["backbone"]["depth"], "width": plain["backbone"]["width"] * plain["scale"]["width"]}
    parts = {"backbone": backbone, "layers": plain["layers"], "stem": stem, "attention": attention}
    if detection:
        channels = plain["detector"]["channels"] * plain["scale"]["width"]
        parts["detector"] = dict(plain["detector"]) | {"channels": channels}
        if not attention_heads:
            del parts["detector"]["attention_heads"]
    if stem["kind"] != "attention_spatial_values":
        del stem["mixtures"]
    if stem["kind"] == "conv":
        del attention["stem_heads"]
    if "attention" in plain["layers"]["groups"] or attention_heads:
        parts |= {group: plain[group] for group in ("extent", "position", "logits")}
    else:
        del attention["heads"], attention["border"]
        if stem["kind"] == "conv":
            del parts["attention"]
    return parts


def rows_like(axes: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The rows of all tables, as (table, row), that are the same as the axes (from `axes_of`)."""
    rows = [(table, row) for table in tables() for row in sorted(files(table))]
    return tuple(row for row in rows if same(axes_of(*row), axes))


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two rows are one network, and alike in what a row of one's own may set beside it, such as the recipe."""
    beside = [{name: axes[name] for name in axes if name not in (*AXES, "attention", "scale")} for axes in (one, other)]
    return beside[0] == beside[1] and network(one) == network(other)


@cache
def axes_of(table: str | None = None, row: str | None = None, **choices: str) -> dict[str, Any]:
    """The groups that make a network, by the defaults, the choices on top of them, and a row on top of those.

    Beside them stands what else the row sets, as {group: {field: value}}, and chooses, as {"/group": option}.
    """
    whole = load(CONF / "config.yaml")
    default = dict(named(whole["defaults"]))
    given = load(files(table)[str(row)]) if table else {}
    chosen = {axis: default[axis] for axis in AXES} | choices | dict(named(given.get("defaults", [])))
    beside = {f"/{group}": option for group, option in chosen.items() if group not in AXES}
    plain = {axis: load(files(axis)[chosen[axis]]) for axis in AXES}
    plain |= {"attention": whole["attention"], "scale": {"width": 1.0}}
    fields = {group: values for group, values in given.items() if group != "defaults"}
    merged = OmegaConf.to_container(OmegaConf.merge(plain, fields)) if fields else plain
    assert isinstance(merged, dict)
    return {str(group): values for group, values in merged.items()} | beside


def description(table: str) -> dict[str, Any]:
    """What the file beside a table of one's own says of it, if there is one, and its rows (report/own.py reads it)."""
    path = (own() or Path()) / f"{table}.yaml"
    said = load(path) if path.is_file() else {}
    rows = said.get("rows") or {}
    if not isinstance(rows, dict):  # which report/own.py refuses
        return said
    return said | {"rows": rows | {row: None for row in sorted(files(table)) if row not in rows}}


@cache
def load(path: Path) -> dict[str, Any]:
    """A file of a configuration as it stands there; InputError where it is none."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    check(isinstance(content, dict), f"{path}: expected fields, such as title: ...")
    assert isinstance(content, dict)
    return {str(name): value for name, value in content.items()}


def named(defaults: list[Any]) -> Iterator[tuple[str, str]]:
    """The entries of a defaults list that choose an option of a group, as (group, option)."""
    for item in defaults:
        if isinstance(item, dict):
            yield from ((str(name).removeprefix("override /"), option) for name, option in item.items())


def at_paper_size(config: Config) -> Config:
    """The same network as the paper counts it, by conf/: the images of ImageNet or COCO, full width, all heads."""
    detection = config.task.kind is TaskKind.detection
    images, default = load(CONF / "data" / f"{'coco' if detection else 'imagenet'}.yaml"), axes_of()
    return replace(
        config,
        attention=replace(config.attention, **{name: default["attention"][name] for name in ("heads", "stem_heads")}),
        data=replace(config.data, size=images["size"], classes=images["classes"]),
        detector=replace(
            config.detector, **{name: default["detector"][name] for name in ("channels", "attention_heads")}
        ),
        scale=replace(config.scale, width=1.0),
    )


def changes(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The fields that differ, as (dotted name, before, after); settings of the machine are left out."""
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if is_machine(prefix + name):
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            yield from changes(old, new, f"{prefix}{name}.")
        elif old != new:
            yield prefix + name, old, new


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What changed between two configurations, for people: "train.lr: 0.1, now 0.2"."""
    return [f"{name}: {old}, now {new}" for name, old, new in changes(before, after)]


def hashed(text: str) -> str:
    """16 hexadecimal digits that differ where texts do."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]
