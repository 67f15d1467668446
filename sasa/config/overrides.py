"""The words of a command line before Hydra has them: what they ask for, and checks that name what exists."""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString
from hydra.errors import OverrideParseException
from omegaconf import OmegaConf

from sasa.config import CONF, EXPERIMENTS, OWN, PROGRAM, folders, groups, options, own, tables
from sasa.config.identity import load
from sasa.config.schema import Config
from sasa.errors import InputError, nearest

SHOWING = ("-c", "--cfg", "-i", "--info", "-h", "--help", "--hydra-help", "--version", "-sc", "--shell-completion")
VALUED = ("-c", "--cfg", "-i", "--info", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir",
          "--experimental-rerun")  # fmt: skip
INFORMATION = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


@dataclass(frozen=True)
class Typed:
    """A command line: overrides, and Hydra's own options, which come after them."""

    overrides: tuple[str, ...]
    options: tuple[str, ...]

    @property
    def rerun(self) -> Path | None:
        """The file that --experimental-rerun names."""
        name = "--experimental-rerun"
        named = [option.partition("=")[2] for option in self.options if option.startswith(f"{name}=")]
        after = [value for option, value in zip(self.options, self.options[1:], strict=False) if option == name]
        return Path((named + after)[0]) if named + after else None

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


def read(words: Sequence[str]) -> Typed:
    """The words of a command line, options and overrides in any order."""
    overrides: list[str] = []
    options: list[str] = []
    following: Sequence[str] = ()  # options that the next word may be the value of
    for word in words:
        is_value = bool(following) and (word in INFORMATION if following[-1] in ("-i", "--info") else True)
        (options if is_value or word.startswith("-") else overrides).append(word)
        following = (word,) if word in VALUED and not is_value else ()
    return Typed(tuple(overrides), tuple(options))


def folders_named(options: Sequence[str]) -> tuple[list[str], list[str]]:
    """The folders that --config-dir names, and the other options."""
    named: list[str] = []
    others: list[str] = []
    words = iter(options)
    for option in words:
        name, has_value, value = option.partition("=")
        if name in ("-cd", "--config-dir") and (value := value if has_value else next(words, "")):
            named.append(value)
        else:
            others.append(option)
    return named, others


def use_own(typed: Typed) -> Typed:
    """Take --config-dir as the folder of one's own; the command line without it. InputError for one that cannot be used."""
    named, others = folders_named(typed.options)
    if typed.completes:  # the line that the shell completes, in which it may be half typed
        line, _ = folders_named(read(words_of(os.environ.get("COMP_LINE", ""))).options)
        named = [name for name in line if Path(name).expanduser().is_dir()][-1:]
    if named[1:]:
        raise InputError(
            f"--config-dir is given {' and '.join(named)}: put your rows, tables and options into one folder"
        )
    if named:
        os.environ[OWN] = named[0]
    mine = own()
    if mine is None:
        return typed
    os.environ[OWN] = str(mine)
    for group in folders(mine):
        for path in sorted((mine / group).glob("*.yaml")):
            if any((place / group / path.name).exists() for place in (CONF, EXPERIMENTS)):
                raise InputError(f"{path}: {group} has {path.stem} already, so give it another name")
    return Typed(typed.overrides, tuple(others))


def words_of(line: str) -> list[str]:
    """A line's words as a shell takes them; one in which a quote is still open, at its blanks."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


# Words of Hydra and OmegaConf, and what people are told instead.
WORDS = (
    (r"Error merging override (.+?): field '.*' is not Optional", r"\1: a value is needed here, and null is none"),
    (r"Error merging override ([^:=]+)=([^:]*): Invalid value assigned: \w+ is not a ListConfig, list or tuple\.?",
     r"\1=\2: expected a list, such as \1=[\2,\2]"),
    (r"Error merging override (.+?): Cannot merge DictConfig with ListConfig", r"\1: expected a list"),
    (r"Error merging override (.+?): Value '.*' (?:of type '\w+' )?could not be converted to Integer",
     r"\1: expected a whole number"),
    (r"Error merging override (.+?): Value '.*' (?:of type '\w+' )?could not be converted to Float", r"\1: expected a number"),
    (r"Error merging override (.+?): Value '.*' is not a valid bool.*", r"\1: expected true or false"),
    (r"Error merging override (.+?): (?:Cannot convert '\w+' to string|Value .* is not a valid input for <enum).*",
     r"\1: expected one word"),
    (r"Error merging override (.+?): Invalid value '.*', expected (.*)", r"\1: expected \2"),
    (r"Error merging override ", ""),
    (r"Structured config of type `\w+` has missing mandatory value: (.*)", r"\1: a value is needed here"),
)  # fmt: skip


def plain_words(message: str) -> str:
    """An error of Hydra's as people say it."""
    for theirs, ours in WORDS:
        message = re.sub(theirs, ours, message)
    return message


def swept(overrides: Sequence[str]) -> list[str]:
    """The keys that a sweep varies."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [override.key_or_group for override in parsed if override.is_sweep_override()]


def chosen(overrides: Sequence[str], key: str, default: str) -> str:
    """What a command line gives a key that it does not sweep: of several values the last, as Hydra does."""
    for override in reversed(OverridesParser.create().parse_overrides(list(overrides))):
        if override.key_or_group == key and not override.is_sweep_override():
            return str(OmegaConf.create({"value": override.value()}).value)
    return default


def output_of(overrides: Sequence[str]) -> Path:
    """The folder of outputs that a command line names, or the default one."""
    return Path(chosen(overrides, "output", load(CONF / "config.yaml")["output"])).expanduser().absolute()


def quoted(path: Path) -> str:
    """A path as an override's value, whatever characters it has."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"


def check_overrides(overrides: Sequence[str], sweep: bool) -> None:
    """Raise InputError for an override that names nothing, with the nearest names that exist."""
    rows = []
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
            raise InputError(f"{override.input_line}: several runs are asked for by -m, as in {PROGRAM} -m seed=0,1")
        if key.split(".")[0].split("/")[0] == "hydra":
            continue
        if key in groups() or "=" not in str(override.input_line):
            check_option(override)
            if key in tables():
                rows.append(override)
        else:
            check_field(key)
        if override.is_sweep_override() and not sweep:
            raise InputError(
                f"{override.input_line} asks for several runs: add -m, as in {PROGRAM} -m '{override.input_line}'"
            )
        if override.is_interval_sweep() and chosen(overrides, "hydra/sweeper", "basic") == "basic":
            raise InputError(
                f"{override.input_line}: an interval needs hydra/sweeper=optuna, which chooses values from it; without it list "
                f"some, as in {key}=0.01,0.1"
            )
    if len(rows) > 1:
        both = " and ".join(str(override.input_line) for override in rows)
        raise InputError(f"{both}: a run is a row of one table. Run one after the other")


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
