"""Hydra's side: where configurations lie, checks of the command line, and the one conversion to a checked Config."""

import pickle
import shlex
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from sasa.config import CONF, EXPERIMENTS, own, own_option, own_tables, tables
from sasa.config.data import Data
from sasa.config.identity import AXES, Identity, axes_of, rows_like, variant_of
from sasa.config.overrides import Typed, check_overrides, plain_words
from sasa.config.schema import Config
from sasa.errors import InputError

REMEDY = "it takes a config.pickle that Hydra's PickleJobInfoCallback wrote; the command in a run's result.json runs it again"
ERRORS = (HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError)


class Experiments(SearchPathPlugin):
    """Each folder of experiments/ is a config group (a relative search path would depend on the working folder)."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for place in (EXPERIMENTS, own()):
            if place:
                search_path.append("experiments", f"file://{place}")


def register() -> None:
    """Make experiments/, a folder of one's own and the schema known to Hydra."""
    Plugins.instance().register(Experiments)
    ConfigStore.instance().store(name="schema", node=Config)
    ConfigStore.instance().store(name="own_tables", node={"defaults": [{table: None} for table in own_tables()]})


def launch(task: Callable[[DictConfig], Any], typed: Typed) -> None:
    """Let Hydra do what was typed: call the task, a function that other processes can import, or show something."""
    if typed.rerun is not None:
        check_rerun(typed.rerun)
    sys.argv[1:] = [*typed.overrides, *typed.options]
    Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]  # composes it all for hydra.mode, which -m alone sets
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()


def check_rerun(path: Path) -> None:
    """Raise InputError for a file that Hydra's --experimental-rerun would not read."""
    try:
        content = pickle.loads(path.read_bytes())
    except Exception as error:  # pickle raises many kinds
        raise InputError(f"--experimental-rerun {path} cannot be read: {REMEDY}") from error
    if not (isinstance(content, DictConfig) and "hydra" in content):
        raise InputError(f"--experimental-rerun {path} is no configuration: {REMEDY}")


def in_sweep() -> bool:
    """Whether Hydra's present job is one of a sweep."""
    return HydraConfig.get().mode == RunMode.MULTIRUN


def job() -> tuple[Path, int, Mapping[str, Any]]:
    """The folder of Hydra's present sweep, the number of the job in it, and the launcher's settings."""
    config = HydraConfig.get()
    launcher = OmegaConf.to_container(config.launcher, resolve=True)
    assert isinstance(launcher, dict)
    return Path(config.sweep.dir), config.job.num, {str(name): value for name, value in launcher.items()}


def checked(cfg: Any) -> Config:
    """The composed configuration as plain, checked dataclasses; InputError where it cannot be one."""
    try:
        plain = OmegaConf.to_container(OmegaConf.create(cfg), resolve=True, throw_on_missing=True)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
    except OmegaConfBaseException as error:
        message, key = plain_words(str(error).splitlines()[0]), error.full_key or ""
        raise InputError(message if key in message else f"{key}: {message}") from error
    assert isinstance(config, Config)
    return config


def compose_row(overrides: Sequence[str]) -> Config:
    """The configuration of a command line such as ["table3=conv1", "scale=imagenet"]."""
    check_overrides(overrides, sweep=False)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return checked(hydra_compose("config", list(overrides)))


def other_data(config: Config, overrides: Sequence[str]) -> Data:
    """The images of a configuration after overrides of its data, such as ["data=folder", "data.root=/v2"].

    Other images are shown to the network as its own were: their size, crop and colours change by a field alone, and there
    are as many classes.
    """
    check_overrides(overrides, sweep=False)
    wrong = [line for line in overrides if not line.startswith(("data=", "data."))]
    if wrong:
        raise InputError(f"{wrong[0]}: only data and its fields can be given, such as data.root=/images data.size=288")
    groups = [line for line in overrides if line.startswith("data=")]
    data = compose_row([f"task={config.task.kind}", *groups]).data if groups else config.data
    data = replace(data, **{name: getattr(config.data, name) for name in ("size", "classes", "crop", "mean", "std")})
    fields = OmegaConf.from_dotlist([line for line in overrides if line not in groups])
    data = checked(OmegaConf.merge(asdict(config), {"data": asdict(data)}, fields)).data
    if data.classes != config.data.classes:
        raise InputError(
            f"data.classes={data.classes}: the run tells {config.data.classes} classes apart, so other images must be of these"
        )
    return data


@cache
def defaults(task: str, scale: str, *chosen: str) -> dict[str, Any]:
    """The configuration of `python run.py task=<task> scale=<scale>` and what else is chosen.

    By the Hydra of this process's job if it has one.
    """
    running = GlobalHydra.instance().is_initialized()
    with nullcontext() if running else initialize_config_dir(str(CONF), version_base="1.3"):
        return asdict(checked(hydra_compose("config", [f"task={task}", f"scale={scale}", *chosen])))


def identity(program: str) -> Identity:
    """What Hydra's present job is called: its row, and the overrides that are not the table, scale, seed or machine's."""
    choices = {name: choice for name, choice in HydraConfig.get().runtime.choices.items() if choice is not None}
    task = task_overrides()
    given = {  # of a field that is given twice Hydra takes the last
        override.key_or_group: str(override.input_line) for override in OverridesParser.create().parse_overrides(task)
    }
    table = next((name for name in tables() if name in choices), None)
    row = choices[table] if table else None
    plain = not any(key.split(".")[0] in AXES and "." in key for key in given)
    alike = rows_like(axes_of(**{axis: choices[axis] for axis in AXES})) if plain and not table else ()
    axes = axes_of(table, row)
    return Identity(
        table=table,
        row=row,
        variant=variant_of(given, table),
        command=shlex.join([*program.split(), *task, *own_option()]),
        rows=rows_like(axes),
        like=alike[0] if alike else None,
        defaults=defaults(choices["task"], choices["scale"]),
        recipe=recipe(choices, "train" in given or "/train" in axes) if "train.batch" in given else {},
    )


def recipe(choices: Mapping[str, str], chosen: bool) -> dict[str, Any]:
    """The option of train as it is at this scale, which is the scale's own unless another is chosen.

    {} of one that needs the fields which are given beside it.
    """
    other = (f"train={choices['train']}",) if chosen else ()
    with suppress(InputError, *ERRORS):
        return {**defaults(choices["task"], choices["scale"], *other)["train"]}
    return {}


def task_overrides() -> list[str]:
    """The overrides of Hydra's present job as they were typed: an interpolation in one is not for Hydra's own tree."""
    task = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(task, list)
    return [str(line) for line in task]


def label(keys: Container[str]) -> str:
    """What tells Hydra's present job from the others of its sweep, by the keys that it varies: "table4=k3 seed=1"."""
    task = OverridesParser.create().parse_overrides(task_overrides())
    return " ".join(str(override.input_line) for override in task if override.key_or_group in keys)
