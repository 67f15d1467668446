"""Hydra's side: where configurations lie, checks of the command line, and the one conversion to a checked Config."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString
from hydra.core.plugins import Plugins
from hydra.errors import OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sasa.config.schema import Config
from sasa.errors import InputError, nearest
from sasa.record import Identity, is_machine

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
EXPERIMENTS = ROOT / "experiments"
AXES = ("task", "backbone", "layers", "extent", "position", "logits", "stem", "heads")


class Experiments(SearchPathPlugin):
    """Each folder of experiments/ is a config group (a relative search path would depend on the working folder)."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("experiments", f"file://{EXPERIMENTS}")


def register() -> None:
    """Make experiments/ and the schema known to Hydra."""
    Plugins.instance().register(Experiments)
    ConfigStore.instance().store(name="schema", node=Config)


def tables() -> list[str]:
    """The tables and figures of experiments/."""
    return sorted(folder.name for folder in EXPERIMENTS.iterdir() if folder.is_dir())


def options(group: str) -> list[str]:
    """The choices of a config group, which for a table are its rows."""
    folder = EXPERIMENTS / group if group in tables() else CONF / group
    return sorted(file.stem for file in folder.glob("*.yaml"))


def groups() -> list[str]:
    """All config groups: tables first, then those of conf/."""
    return tables() + sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())


def checked(cfg: DictConfig) -> Config:
    """The composed configuration as plain, checked dataclasses; InputError where it cannot be one."""
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
    except OmegaConfBaseException as error:
        message, key = str(error).splitlines()[0], error.full_key or ""
        raise InputError(message if key in message else f"{key}: {message}") from error
    assert isinstance(config, Config)
    return config


def compose_row(overrides: Sequence[str]) -> Config:
    """The configuration of a command line such as ["table3=conv1", "scale=imagenet"]."""
    check_overrides(overrides, sweep=False)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return checked(hydra_compose("config", list(overrides)))


@cache
def defaults(task: str, scale: str) -> dict[str, Any]:
    """The configuration of `python run.py task=<task> scale=<scale>`, by the Hydra of this process's job if it has one."""
    running = GlobalHydra.instance().is_initialized()
    with nullcontext() if running else initialize_config_dir(str(CONF), version_base="1.3"):
        return asdict(checked(hydra_compose("config", [f"task={task}", f"scale={scale}"])))


def identity(program: str) -> Identity:
    """What Hydra's present job is called: its row, and the overrides that are not the table, scale, seed or machine's."""
    hydra = HydraConfig.get()
    choices = {name: choice for name, choice in hydra.runtime.choices.items() if choice is not None}
    task = task_overrides()
    keys = {
        str(override.input_line): override.key_or_group for override in OverridesParser.create().parse_overrides(task)
    }
    table = next((name for name in tables() if name in choices), None)
    variant = tuple(
        sorted(line for line, key in keys.items() if key not in (table, "scale", "seed") and not is_machine(key))
    )
    return Identity(
        table=table,
        row=choices[table] if table else None,
        variant=variant,
        command=shlex.join([*program.split(), *task]),
        like=None if table else like(choices, keys.values()),
        defaults=defaults(choices["task"], choices["scale"]),
    )


def task_overrides() -> list[str]:
    """The overrides of Hydra's present job as they were typed: an interpolation in one is not for Hydra's own tree."""
    task = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(task, list)
    return [str(line) for line in task]


def label(overrides: Sequence[str]) -> str:
    """What tells Hydra's present job from the others of its sweep, such as "table4=k3 seed=1"."""
    parser = OverridesParser.create()
    swept = {
        override.key_or_group for override in parser.parse_overrides(list(overrides)) if override.is_sweep_override()
    }
    task = parser.parse_overrides(task_overrides())
    varied = [str(override.input_line) for override in task if override.key_or_group in swept]
    return " ".join(varied) or "run"


def like(choices: Mapping[str, str], keys: Iterable[str]) -> tuple[str, str] | None:
    """The first row of a table whose network is the chosen one; None where a field of it is overridden."""
    if any(key.split(".")[0] in AXES and "." in key for key in keys):
        return None
    defaults = {name: choice for item in OmegaConf.load(CONF / "config.yaml").defaults for name, choice in named(item)}
    for table in tables():
        for row in options(table):
            content = OmegaConf.to_container(OmegaConf.load(EXPERIMENTS / table / f"{row}.yaml"))
            assert isinstance(content, dict)
            overrides = dict(pair for item in content.get("defaults", []) for pair in named(item))
            whole = set(content) == {"defaults"}
            if whole and all((defaults | overrides)[axis] == choices[axis] for axis in AXES):
                return table, row
    return None


def named(item: str | DictConfig) -> list[tuple[str, str]]:
    """An entry of a defaults list as (group, choice)."""
    return (
        []
        if isinstance(item, str)
        else [(str(name).removeprefix("override /"), choice) for name, choice in item.items()]
    )


def check_overrides(overrides: Sequence[str], sweep: bool) -> None:
    """Raise InputError for an override that names nothing, with the nearest names that exist."""
    chosen = []
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise InputError(
            f"{error.override} cannot be read as name=value. Quote values with characters such as ~ ( ) {{ }} , = "
            "within the shell's quotes, as in 'data.root=\"~/images (all)\"'"
        ) from None
    for override in parsed:
        key = override.key_or_group
        if key.split(".")[0].split("/")[0] == "hydra":
            continue
        if key in groups() or "=" not in str(override.input_line):
            check_option(override)
            if key in tables():
                chosen.append(override)
        else:
            check_field(key)
        if override.is_sweep_override() and not sweep:
            raise InputError(
                f"{override.input_line} asks for several runs: add -m, as in python run.py -m '{override.input_line}'"
            )
    if len(chosen) > 1:
        both = " and ".join(str(override.input_line) for override in chosen)
        raise InputError(
            f"{both}: a run is a row of one table. Run one after the other, or all of them with `make tables`"
        )


def check_option(override: Override) -> None:
    """Raise InputError unless the group exists and has the options asked for."""
    group, value = override.key_or_group, override.value()
    valid = options(group)
    if isinstance(value, Glob):
        if not value.filter(valid):
            raise InputError(f"{override.input_line} matches nothing: {group} has {', '.join(valid)}")
        return
    if override.is_delete():
        return
    for choice in value.list if isinstance(value, ChoiceSweep) else [value]:
        if isinstance(choice, Glob):
            continue
        if choice is None or isinstance(choice, list):
            raise InputError(f"{override.input_line}: expected one of {', '.join(valid)}")
        name = choice.text if isinstance(choice, QuotedString) else str(choice)
        if name not in valid:
            kind = "row" if group in tables() else "option"
            raise InputError(f"{group}={name}: no such {kind}. {nearest(name, valid)}")


def check_field(key: str) -> None:
    """Raise InputError unless the dotted key is a field of Config."""
    node: Any = Config
    done: list[str] = []
    for part in key.split("."):
        names = [field.name for field in fields(node)] if is_dataclass(node) else []
        valid = sorted({*names, *(tables() if not done else [])})
        if part not in valid:
            where = ".".join(done)
            what = f"{where} has no field {part}" if where else f"there is no table, group or field {part}"
            raise InputError(f"{key}: {what}. {nearest(part, valid)}")
        node = get_type_hints(node).get(part)
        done.append(part)
    if is_dataclass(node):
        raise InputError(
            f"{key} is a group without a folder of options: set a field, such as {key}.{fields(node)[0].name}=..."
        )
