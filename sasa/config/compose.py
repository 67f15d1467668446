"""Hydra's side: where configurations lie, checks of the command line, and the one conversion to a checked Config."""

import os
import re
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints

import hydra
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from sasa.config import CONF, EXPERIMENTS, OWN, files, folders, groups, own, own_tables, tables
from sasa.config.data import Data
from sasa.config.identity import AXES, Identity, axes_of, is_machine, load, rows_like
from sasa.config.schema import Config
from sasa.errors import InputError, nearest

ERRORS = (HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError)
SHOWING = ("-c", "--cfg", "-i", "--info", "-h", "--help", "--hydra-help", "--version", "-sc", "--shell-completion")
VALUED = ("-c", "--cfg", "-i", "--info", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir",
          "--experimental-rerun")  # fmt: skip
INFORMATION = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


class Experiments(SearchPathPlugin):
    """Each folder of experiments/ is a config group (a relative search path would depend on the working folder)."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for place in (EXPERIMENTS, own()):
            if place:
                search_path.append("experiments", f"file://{place}")


def register() -> None:
    """Make experiments/, a folder of one's own, the schema, and what --help says of them known to Hydra."""
    OmegaConf.register_new_resolver("groups", listed, replace=True)
    Plugins.instance().register(Experiments)
    ConfigStore.instance().store(name="schema", node=Config)
    ConfigStore.instance().store(name="own_tables", node={"defaults": [{table: None} for table in own_tables()]})


@dataclass(frozen=True)
class Typed:
    """A command line: overrides, and Hydra's own options, which come after them."""

    overrides: tuple[str, ...]
    options: tuple[str, ...]

    @property
    def multirun(self) -> bool:
        """Whether it is a sweep."""
        return bool({"-m", "--multirun"}.intersection(self.options))

    @property
    def shows(self) -> bool:
        """Whether it shows something, and runs nothing."""
        return any(option.partition("=")[0] in SHOWING for option in self.options)

    @property
    def completes(self) -> bool:
        """Whether it is the shell's, to complete another one."""
        return bool({"-sc", "--shell-completion"}.intersection(self.options))

    @property
    def helps(self) -> bool:
        """Whether it asks for help."""
        return bool({"-h", "--help"}.intersection(self.options))


# Words of Hydra and OmegaConf, and what people are told instead.
WORDS = (
    (r"Error merging override ([^:]+): field '.*' is not Optional", r"\1: a value is needed here, and null is none"),
    (r"Error merging override ([^:=]+)=([^:]*): Invalid value assigned: \w+ is not a ListConfig, list or tuple\.?",
     r"\1=\2: expected a list, such as \1=[\2,\2]"),
    (r"Error merging override ([^:]+): Value '.*' of type '\w+' could not be converted to Integer",
     r"\1: expected a whole number"),
    (r"Error merging override ([^:]+): Value '.*' of type '\w+' could not be converted to Float", r"\1: expected a number"),
    (r"Error merging override ([^:]+): Value '.*' is not a valid bool.*", r"\1: expected true or false"),
    (r"Error merging override ([^:]+): (?:Invalid value '.*', expected|Cannot.*?:) (.*)", r"\1: expected \2"),
    (r"Error merging override ", ""),
)  # fmt: skip


def plain_words(message: str) -> str:
    """An error of Hydra's as people say it."""
    for theirs, ours in WORDS:
        message = re.sub(theirs, ours, message)
    return message


def typed(words: Sequence[str]) -> Typed:
    """The words of a command line, options and overrides in any order."""
    overrides: list[str] = []
    options: list[str] = []
    following: Sequence[str] = ()  # options that the next word may be the value of
    for word in words:
        is_value = bool(following) and (word in INFORMATION if following[-1] in ("-i", "--info") else True)
        (options if is_value or word.startswith("-") else overrides).append(word)
        following = (word,) if word in VALUED and not is_value else ()
    return Typed(tuple(overrides), tuple(options))


def use_own(typed: Typed) -> Typed:
    """Take --config-dir as the folder of one's own; the command line without it. InputError for one that cannot be used."""
    options = list(typed.options)
    for place, option in enumerate(typed.options):
        if option in ("-cd", "--config-dir") and place + 1 < len(options):
            os.environ[OWN] = options[place + 1]
            del options[place : place + 2]
        elif option.startswith("--config-dir="):
            os.environ[OWN] = options[place].partition("=")[2]
            del options[place]
    mine = own()
    if mine is None:
        return typed
    os.environ[OWN] = str(mine)
    if not mine.is_dir():
        raise InputError(f"{mine} is no folder: --config-dir takes one of your own rows, tables and options")
    for group in folders(mine):
        for path in sorted((mine / group).glob("*.yaml")):
            if any((place / group / path.name).exists() for place in (CONF, EXPERIMENTS)):
                raise InputError(f"{path}: {group} has {path.stem} already, so give it another name")
    return Typed(typed.overrides, tuple(options))


def own_option() -> list[str]:
    """What a command line ends with that uses a folder of one's own."""
    mine = own()
    return ["--config-dir", str(mine)] if mine else []


def launch(task: Callable[[DictConfig], Any], typed: Typed) -> None:
    """Let Hydra do what was typed: call the task, a function that other processes can import, or show something."""
    sys.argv[1:] = [*typed.overrides, *typed.options]
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)()


def in_sweep() -> bool:
    """Whether Hydra's present job is one of a sweep."""
    return HydraConfig.get().mode == RunMode.MULTIRUN


def job() -> tuple[Path, int, Mapping[str, Any]]:
    """The folder of Hydra's present sweep, the number of the job in it, and the launcher's settings."""
    config = HydraConfig.get()
    launcher = OmegaConf.to_container(config.launcher, resolve=True)
    assert isinstance(launcher, dict)
    return Path(config.sweep.dir), config.job.num, {str(name): value for name, value in launcher.items()}


def options(group: str) -> list[str]:
    """The choices of a config group, which for a table are its rows."""
    return sorted(files(group))


def listed() -> str:
    """Each config group with its options, in lines that the terminal holds."""
    width = shutil.get_terminal_size().columns
    lines = (f"{group}: {', '.join(options(group))}" for group in groups())
    return "\n".join(textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False) for line in lines)


def checked(cfg: Any) -> Config:
    """The composed configuration as plain, checked dataclasses; InputError where it cannot be one."""
    try:
        plain = OmegaConf.to_container(OmegaConf.create(cfg), resolve=True, throw_on_missing=True)
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


@dataclass(frozen=True)
class Row:
    """A row of a sweep: the words that a run of it alone is started with, and what they make."""

    words: tuple[str, ...]
    label: str  # by the keys that the sweep varies: "table4=k3 seed=1"
    config: Config
    identity: Identity


def rows(overrides: Sequence[str], program: str) -> list[Row]:
    """The rows of a sweep, in its order, without the words that concern Hydra itself."""
    parser = OverridesParser.create()
    own = [one for one in parser.parse_overrides(list(overrides)) if not one.key_or_group.startswith("hydra")]
    values: list[list[str]] = []
    for one in own:
        value = one.value()
        if isinstance(value, Glob):
            values.append([f"{one.key_or_group}={name}" for name in value.filter(options(one.key_or_group))])
        elif one.is_sweep_override():
            values.append([f"{one.get_key_element()}={text}" for text in one.sweep_string_iterator()])
        else:
            values.append([str(one.input_line)])
    varied = [one.key_or_group for one in own if one.is_sweep_override()]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return [row_of(words, varied, program) for words in product(*values)]


def row_of(words: tuple[str, ...], varied: Container[str], program: str) -> Row:
    """One row, composed as Hydra's present job."""
    composed = hydra_compose("config", list(words), return_hydra_config=True)
    HydraConfig.instance().set_config(composed)
    with open_dict(composed):
        del composed["hydra"]
    return Row(words, label(varied), checked(composed), identity(program))


def launcher(overrides: Sequence[str]) -> dict[str, Any]:
    """The settings of the launcher that a sweep's overrides choose."""
    mine = [one for one in overrides if not OverridesParser.create().parse_override(one).is_sweep_override()]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = hydra_compose("config", mine, return_hydra_config=True)
    settings = OmegaConf.to_container(composed.hydra.launcher, resolve=True)
    assert isinstance(settings, dict)
    return {str(name): value for name, value in settings.items()}


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
def defaults(task: str, scale: str) -> dict[str, Any]:
    """The configuration of `python run.py task=<task> scale=<scale>`, by the Hydra of this process's job if it has one."""
    running = GlobalHydra.instance().is_initialized()
    with nullcontext() if running else initialize_config_dir(str(CONF), version_base="1.3"):
        return asdict(checked(hydra_compose("config", [f"task={task}", f"scale={scale}"])))


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
    return Identity(
        table=table,
        row=row,
        variant=tuple(
            sorted(line for key, line in given.items() if key not in (table, "scale", "seed") and not is_machine(key))
        ),
        command=shlex.join([*program.split(), *task, *own_option()]),
        rows=rows_like(axes_of(table, row)),
        like=alike[0] if alike else None,
        defaults=defaults(choices["task"], choices["scale"]),
    )


def task_overrides() -> list[str]:
    """The overrides of Hydra's present job as they were typed: an interpolation in one is not for Hydra's own tree."""
    task = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(task, list)
    return [str(line) for line in task]


def swept(overrides: Sequence[str]) -> dict[str, int]:
    """The keys that a sweep varies, and how many values each takes."""
    varied = {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        value = override.value()
        if isinstance(value, Glob):
            varied[override.key_or_group] = len(value.filter(options(override.key_or_group)))
        elif override.is_sweep_override():  # of an interval Hydra's own sweeper knows no values, and says so
            varied[override.key_or_group] = len(list(override.sweep_iterator())) if override.is_discrete_sweep() else 1
    return varied


def chosen(overrides: Sequence[str], key: str, default: str) -> str:
    """What a command line gives a key that it does not sweep."""
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.key_or_group == key and not override.is_sweep_override():
            return str(OmegaConf.create({"value": override.value()}).value)
    return default


def output(overrides: Sequence[str]) -> Path:
    """The folder of outputs that a command line names, or the default one."""
    return Path(chosen(overrides, "output", load(CONF / "config.yaml")["output"])).expanduser().absolute()


def label(keys: Container[str]) -> str:
    """What tells Hydra's present job from the others of its sweep, by the keys that it varies: "table4=k3 seed=1"."""
    task = OverridesParser.create().parse_overrides(task_overrides())
    return " ".join(str(override.input_line) for override in task if override.key_or_group in keys)


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
        if key == "hydra.mode":
            raise InputError(
                f"{override.input_line}: several runs are asked for by -m, as in python run.py -m seed=0,1"
            )
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
