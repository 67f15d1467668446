"""Comparisons as Markdown, CSV, LaTeX and JSON. Labels and reasons come from files, so each format escapes them."""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from sasa.report.names import clean
from sasa.report.tables.compare import NOTHING, Comparison, Effect, Line, Score
from sasa.report.tables.layout import Cell, blocks, fixed
from sasa.report.tables.remarks import remarks

CSV_NUMBERS = {
    "flops_published": 1,
    "flops": 4,
    "flops_difference": 4,
    "params_published": 1,
    "params": 4,
    "params_difference": 4,
    "seeds": 0,
    "run_flops": 0,
    "run_params": 0,
}
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "…": r"\ldots{}",
    **{character: "\\" + character for character in "{}$&#%_"},
}


def markdown(comparisons: Iterable[Comparison], own_costs: bool = False) -> str:
    """One heading, table and list of notes for each comparison."""
    return "\n".join(markdown_table(comparison, own_costs) for comparison in comparisons)


def markdown_table(comparison: Comparison, own_costs: bool) -> str:
    layout = blocks(comparison, own_costs=own_costs)
    headers = [f"{block.title} {header}".strip() for block in layout for header in block.headers]
    aligned = ["---" if block.labels else "---:" for block in layout for _ in block.headers]
    rows = [[markdown_cell(cell) for cell in row] for row in flat_rows(comparison, own_costs)]
    table = [f"| {' | '.join(cells)} |" for cells in ([escape_markdown(text) for text in headers], aligned, *rows)]
    below = [
        comparison.caption,
        *([comparison.legend] if comparison.runs else []),
        *remarks(comparison),
    ]
    notes = [f"- {escape_markdown(note)}" for line in comparison.lines for note in line.notes]
    title = f"### {escape_markdown(comparison.table.title)}"
    return "\n".join([title, "", *table, "", *map(escape_markdown, below), *([""] if notes else []), *notes, ""])


def markdown_cell(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    return f"**{text}**" if cell.role == "best" else text


def escape_markdown(text: str) -> str:
    text = re.sub(r"([\\`*_{}\[\]|#~$])", r"\\\1", clean(text))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def latex(comparisons: Iterable[Comparison], own_costs: bool = False) -> str:
    """A booktabs table for each comparison; notes become comments above it."""
    return "% needs \\usepackage{booktabs}\n" + "\n".join(
        latex_table(comparison, own_costs) for comparison in comparisons
    )


def latex_table(comparison: Comparison, own_costs: bool) -> str:
    layout = blocks(comparison, own_costs=own_costs)
    titles, rules, start = [], [], 1
    for block in layout:
        width = len(block.headers)
        titles.append(rf"\multicolumn{{{width}}}{{c}}{{{escape_latex(block.title)}}}")
        rules += [rf"\cmidrule(lr){{{start}-{start + width - 1}}}"] if block.title else []
        start += width
    alignment = "".join(("l" if block.labels else "r") * len(block.headers) for block in layout)
    caption = escape_latex(
        f"{comparison.table.title}. {comparison.caption}"
        + f" {comparison.legend}" * bool(comparison.runs)
        + "".join(f" {remark}" for remark in remarks(comparison))
    )
    return "\n".join(
        [
            *(f"% {clean(note)}" for line in comparison.lines for note in line.notes),
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:{comparison.table.name}}}",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            " & ".join(titles) + r" \\",
            " ".join(rules),
            " & ".join(escape_latex(header) for block in layout for header in block.headers) + r" \\",
            r"\midrule",
            *(" & ".join(map(latex_cell, row)) + r" \\" for row in flat_rows(comparison, own_costs)),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def latex_cell(cell: Cell) -> str:
    if cell.role in ("difference", "deviation", "effect") and cell.text:
        return f"${cell.text}$"
    text = escape_latex(cell.text)
    return rf"\textbf{{{text}}}" if cell.role == "best" else text


def escape_latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in clean(text))


def comma_separated(comparisons: Iterable[Comparison]) -> str:
    """One header for all comparisons, one record a row; a label column of another table is empty."""
    comparisons = list(comparisons)
    columns = list(dict.fromkeys(column for comparison in comparisons for column in comparison.table.columns))
    measures = list(dict.fromkeys(measure for comparison in comparisons for measure in comparison.table.measures))
    text = io.StringIO()
    writer = csv.writer(text)
    scores = [name for measure in measures for name in flat(measure, NOTHING)]
    head = ["table", "scale", "variant", "row", *columns, "status", "split", *CSV_NUMBERS, *scores]
    writer.writerow([*head, *gains(None), "notes"])
    for comparison in comparisons:
        for line in comparison.lines:
            writer.writerow(csv_record(comparison, line, columns, measures))
    return text.getvalue()


def csv_record(comparison: Comparison, line: Line, columns: Sequence[str], measures: Sequence[str]) -> list[str]:
    labels = dict(zip(comparison.table.columns, line.cells, strict=True))
    texts = [comparison.table.name, comparison.scale or "", comparison.variant, line.row]
    texts += [*(labels.get(column, "") for column in columns), line.status, comparison.table.split]
    numbers = [fixed(getattr(line, name), decimals) for name, decimals in CSV_NUMBERS.items()]
    for measure in measures:
        scores = flat(measure, line.score(measure))
        numbers += [fixed(value, 1 if name.endswith("published") else 4) for name, value in scores.items()]
    effect = [value if isinstance(value, str) else fixed(value, 4) for value in gains(line.effect).values()]
    return [*map(clean, texts), *numbers, *effect, "; ".join(line.notes)]


def flat(measure: str, score: Score) -> dict[str, float | None]:
    """A score as columns: top1_published, top1, top1_deviation and top1_difference."""
    return {
        f"{measure}_published": score.published,
        measure: score.mean,
        f"{measure}_deviation": score.deviation,
        f"{measure}_difference": score.difference,
    }


def gains(effect: Effect | None) -> dict[str, str | float | None]:
    """An effect as columns: gain_over (the row of reference), gain_published, gain, gain_low and gain_high."""
    effect = effect or Effect("")
    numbers = {"_published": effect.published, "": effect.value, "_low": effect.low, "_high": effect.high}
    return {"gain_over": effect.over} | {f"gain{name}": value for name, value in numbers.items()}


def structured(comparisons: Iterable[Comparison]) -> str:
    """JSON: a list of tables with every field of their rows and runs, but for the runs' whole configurations."""
    return json.dumps([json_table(comparison) for comparison in comparisons], indent=2, allow_nan=False) + "\n"


def json_table(comparison: Comparison) -> dict[str, object]:
    table = comparison.table
    rows = []
    for line in comparison.lines:
        row = asdict(line) | {"cells": dict(zip(table.columns, line.cells, strict=True))}
        del row["scores"], row["effect"]
        row |= gains(line.effect)
        for measure in table.measures:
            row |= flat(measure, line.score(measure))
        for run in row["runs"]:
            del run["config"]
        rows.append(row)
    setting = {"scale": comparison.scale, "variant": comparison.variant, "caption": comparison.caption}
    return {"table": table.name, "title": table.title, "split": table.split, **setting, "rows": rows}


def flat_rows(comparison: Comparison, own_costs: bool) -> list[list[Cell]]:
    layout = blocks(comparison, own_costs=own_costs)
    return [[cell for row in rows for cell in row] for rows in zip(*(block.rows for block in layout), strict=True)]
