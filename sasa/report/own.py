"""Tables of one's own beside the paper's: described in <table>.yaml of a folder of one's own, and kept beside their runs."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sasa import config
from sasa.errors import InputError, check, nearest
from sasa.records.files import read_json, write_atomically
from sasa.report.paper import BOXES, MEASURES, TABLES, Row, Table

FILE = "table.json"  # in the table's folder of outputs/: its description, and where that came from
FOLDER = "config_dir"
SETS = ("title", "columns", "split", "measures", "setting", "note", "reference", "rows")
PUBLISHED = ("flops", "params", "top1")


def own_table(name: str) -> Table:
    """A table in the present folder of one's own; InputError for a wrong description."""
    from sasa.config.identity import description  # loads OmegaConf, which a report of the paper's tables does without

    return replace(described(name, description(name)), folder=str(config.own()))


def keep(name: str, content: Mapping[str, Any], output: Path) -> None:
    """Make a table in the present folder of one's own known, here and to whoever reads its runs in outputs/."""
    folder = str(config.own())
    TABLES[name] = replace(described(name, content), folder=folder)
    (output / name).mkdir(parents=True, exist_ok=True)
    write_atomically(output / name / FILE, json.dumps({**content, FOLDER: folder}, indent=2).encode())


def add_tables(output: Path) -> None:
    """Make the tables of one's own known: those in the present folder of one's own, and those with runs in an outputs folder."""
    TABLES.update({name: own_table(name) for name in config.own_tables()})
    for path in sorted(output.glob(f"*/{FILE}")):
        content = read_json(path)
        if content is not None and path.parent.name not in TABLES:
            folder = content.pop(FOLDER, "")
            TABLES[path.parent.name] = replace(described(path.parent.name, content), folder=str(folder))


def described(name: str, content: Mapping[str, Any]) -> Table:
    """A table by its description, of which everything may be missing; its accuracy is that on the held-out images."""
    file = f"{name}.yaml"
    check(isinstance(content, Mapping), f"{file}: expected fields, such as title: ...")
    for key in ("columns", "measures"):
        listed = content.get(key) or []
        texts = isinstance(listed, list) and all(isinstance(one, str | int | float) for one in listed)
        check(texts, f"{file}: {key}: {listed}: expected a list of names")
    rows_given = content.get("rows") or {}
    fields = isinstance(rows_given, Mapping) and all(isinstance(one or {}, Mapping) for one in rows_given.values())
    check(fields, f"{file}: rows: {rows_given}: expected row names, each with its fields")
    for key in content:
        check(key in SETS, f"{file}: there is no {key}. {nearest(key, SETS)}")
    columns = tuple(map(str, content.get("columns") or ["row"]))
    split, measures = content.get("split", "validation"), tuple(content.get("measures") or ["top1"])
    check(split in ("validation", "test"), f"{file}: split: {split}: expected validation or test")
    for measure in measures:
        check(measure in MEASURES, f"{file}: measures: {measure}: expected some of {', '.join(MEASURES)}")
    rows = tuple(row(file, str(key), given or {}, columns) for key, given in rows_given.items())
    reference = str(content.get("reference") or "")
    names = [one.name for one in rows]
    check(
        reference in ("", *names), f"{file}: reference: {reference}: there is no such row. {nearest(reference, names)}"
    )
    return Table(
        name,
        str(content.get("title") or name),
        columns,
        split,
        rows,
        measures=measures,
        reference=reference,
        over=reference,
        setting=str(content.get("setting") or "has no such table"),
        note=str(content.get("note") or ""),
    )


def row(file: str, name: str, given: Mapping[str, Any], columns: tuple[str, ...]) -> Row:
    """A row by its description: its cells, and numbers to stand beside ours."""
    for key in given:
        check(
            key in ("cells", *PUBLISHED, *BOXES),
            f"{file}: rows.{name} has no {key}. {nearest(key, (*PUBLISHED, *BOXES))}",
        )
    cells = tuple(map(str, given.get("cells") or [name, *[""] * (len(columns) - 1)]))
    check(
        len(cells) == len(columns),
        f"{file}: rows.{name}.cells has {len(cells)} entries, and there are {len(columns)} columns",
    )
    numbers = {key: number(file, f"rows.{name}.{key}", given[key]) for key in (*PUBLISHED, *BOXES) if key in given}
    boxes = tuple(numbers[key] for key in BOXES if key in numbers)
    check(len(boxes) in (0, len(BOXES)), f"{file}: rows.{name}: give all of {', '.join(BOXES)}, or none")
    return Row(name, cells, **{key: numbers[key] for key in PUBLISHED if key in numbers}, boxes=boxes)


def number(file: str, where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{file}: {where}: {value!r}: expected a number")
    return float(value)
