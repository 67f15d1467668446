"""What --help says: every group with its meaning and its options; or, where a row is chosen, what that row is."""

import inspect
import shlex
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, get_type_hints

from omegaconf import OmegaConf

from sasa.config import CONF, PROGRAM, compose, files, folders, options, own_option, own_tables, tables
from sasa.config.identity import AXES
from sasa.config.overrides import chosen
from sasa.config.schema import Config
from sasa.report import own
from sasa.report.paper import MEASURES, TABLES, Row, Table

INDENT = 12  # columns of a group's name


def prepare() -> None:
    """Let the help of conf/config.yaml ask for the program's name, and for what is listed here."""
    OmegaConf.register_new_resolver("program", lambda: PROGRAM, replace=True)
    OmegaConf.register_new_resolver("tables", lambda: listed(tables()), replace=True)
    OmegaConf.register_new_resolver("groups", lambda: listed(folders(CONF)), replace=True)


def listed(groups: Sequence[str]) -> str:
    """Each config group with what it means and its options, in lines that the terminal holds."""
    return "\n".join(
        paragraph(f"{group:{INDENT}}{meaning(group)}") + "\n" + paragraph(" " * INDENT + ", ".join(options(group)))
        for group in groups
    )


def paragraph(text: str) -> str:
    """Lines of the terminal's width, behind the names."""
    width = shutil.get_terminal_size().columns
    return textwrap.fill(text, width, subsequent_indent=" " * INDENT, break_on_hyphens=False)


def meaning(group: str) -> str:
    """The title of a table, or the first sentence that a group's class says of itself."""
    table = table_of(group)
    if table:
        return table.title.partition(": ")[2] or table.title
    kind = get_type_hints(Config).get(group)
    said = inspect.getdoc(kind) if kind else None
    return said.split("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip(".") if said else ""


def table_of(name: str) -> Table | None:
    """A table of the paper, or of one's own."""
    return own.own_table(name) if name in own_tables() else TABLES.get(name)


def row_help(overrides: Sequence[str]) -> str | None:
    """The help of the row that a command line chooses; None where it chooses none."""
    row = next(((table, name) for table in tables() if (name := chosen(overrides, table, "")) in files(table)), None)
    if row is None:
        return None
    file, table = files(row[0])[row[1]], table_of(row[0])
    assert table is not None
    known = next((one for one in table.rows if one.name == row[1]), None)
    lines = [f"{row[0]}={row[1]}  {table.title}", ""]
    if known:
        lines += [f"  {title}: {cell}" for title, cell in zip(table.columns, known.cells, strict=True)]
        lines += [f"  published: {numbers(table, known)}"]
    text = "\n".join(line for line in file.read_text().splitlines() if line.strip() and not line.startswith("# @"))
    lines += ["", f"{file} says:", "", textwrap.indent(text, "  ")]
    lines += ["", "With the defaults and what else was given, its network is:", "", *network(overrides), ""]
    program = shlex.join((*PROGRAM.split(), *own_option()))
    command = f"{program} {shlex.join(overrides)}"
    ways = {
        command: "train it",
        f"{command} --cfg job": "print its whole configuration",
        f"python -m sasa.report {table.name}": "its table, from what was trained",
        f"{program} --help": "all groups and options",
    }
    wide = max(map(len, ways))
    return "\n".join([*lines, *(f"  {way:{wide}}  {what}" for way, what in ways.items())])


def numbers(table: Table, row: Row) -> str:
    """What the paper prints of a row."""
    measures = {MEASURES[name]: row.published(name) for name in table.measures}
    results = [f"{text} {value} %" for text, value in measures.items() if value is not None]
    costs = [f"{value} {unit}" for value, unit in ((row.flops, "GFLOPs"), (row.params, "M parameters")) if value]
    return f"{', '.join(results + costs) or 'no numbers'} ({table.setting})"


def network(overrides: Sequence[str]) -> list[str]:
    """The fields that make a configuration's network."""
    config: dict[str, Any] = asdict(compose.compose_row(overrides))
    names = (*AXES[1:], "attention") if config["task"]["kind"] == "detection" else (*AXES[1:-1], "attention")
    present = [field.name for field in fields(Config) if field.name in names]
    return [f"  {group}.{name}={shown(value)}" for group in present for name, value in config[group].items()]


def shown(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
