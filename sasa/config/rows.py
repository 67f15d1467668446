"""The rows of a sweep before any of them runs: their words, and what those make."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from omegaconf import OmegaConf, open_dict

from sasa.config import CONF, options
from sasa.config.compose import checked, identity, label
from sasa.config.identity import Identity
from sasa.config.overrides import swept
from sasa.config.schema import Config


@dataclass(frozen=True)
class Row:
    """A row of a sweep: the words that a run of it alone is started with, and what they make."""

    words: tuple[str, ...]
    label: str  # by the keys that the sweep varies: "table4=k3 seed=1"
    config: Config
    identity: Identity


def rows_of(overrides: Sequence[str], program: str) -> list[Row]:
    """The rows of a sweep, in its order, without the words that concern Hydra itself."""
    varied = swept(overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return [row_of(tuple(words.values()), varied, program) for words in words_of(overrides)]


def words_of(overrides: Sequence[str]) -> list[dict[str, str]]:
    """The words of each row by what they set, as Hydra's sweeper writes them; composing a row takes a second, and this none."""
    values: dict[str, list[str]] = {}
    for one in OverridesParser.create().parse_overrides(list(overrides)):
        key, value = one.key_or_group, one.value()
        if key.startswith("hydra"):
            continue
        if isinstance(value, Glob):
            values[key] = [f"{key}={name}" for name in value.filter(options(key))]
        elif one.is_sweep_override():
            values[key] = [f"{one.get_key_element()}={text}" for text in one.sweep_string_iterator()]
        else:
            values[key] = [f"{one.get_key_element()}={one.get_value_element_as_str()}"]
    return [dict(zip(values, words, strict=True)) for words in product(*values.values())]


def row_of(words: tuple[str, ...], varied: Container[str], program: str) -> Row:
    """One row, composed as Hydra's present job."""
    composed = hydra_compose("config", list(words), return_hydra_config=True)
    HydraConfig.instance().set_config(composed)
    with open_dict(composed):
        del composed["hydra"]
    return Row(words, label(varied), checked(composed), identity(program))


def launcher_of(overrides: Sequence[str]) -> dict[str, Any]:
    """The settings of the launcher that a sweep's overrides choose."""
    mine = [one for one in overrides if not OverridesParser.create().parse_override(one).is_sweep_override()]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = hydra_compose("config", mine, return_hydra_config=True)
    settings = OmegaConf.to_container(composed.hydra.launcher, resolve=True)
    assert isinstance(settings, dict)
    return {str(name): value for name, value in settings.items()}
