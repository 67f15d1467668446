"""The kinds of charts of the dashboard, as Altair's specifications without data.

A page holds a chart's data and its axes' titles alone; templates/charts.js puts them into the specification of its
kind. Colours are the page's CSS variables, so that a chart turns light or dark with its page.
"""

from typing import Any

import altair as alt

QUIET, CARD = "var(--quiet)", "var(--card)"
# 8 colours, 7 shapes and 5 dashes: it is long until a colour meets a shape or a dash again.
COLOURS = [f"var(--c{index})" for index in range(8)]
SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right"]
DASHES = [[1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [4, 2]]
HEIGHT, FEW, FAINT = 230, 16, 0.12  # FEW: a curve of fewer points shows each of them
STROKES = {"symbolType": "stroke", "symbolSize": 400}  # a legend of lines
VALUES = {"content": "data"}  # told by charts.js
PAPER = "datum.source === 'paper'"
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "numberFormat": ".4~r",  # where all of an axis is one number, d3 itself would take a single digit of it
    "view": {"stroke": None},
    "range": {"category": COLOURS, "symbol": SHAPES},
    "axis": {
        "labelColor": QUIET, "titleColor": QUIET, "titleFontWeight": "normal", "labelFontSize": 11, "titleFontSize": 12,
        "gridColor": "var(--line)", "domain": False, "ticks": False, "labelPadding": 6, "tickCount": 5,
    },
    "legend": {
        "labelColor": QUIET, "labelFontSize": 12, "labelLimit": 210, "symbolStrokeWidth": 2, "orient": "bottom",
        "title": None, "rowPadding": 4, "columnPadding": 14,
    },
}  # fmt: skip


def specifications() -> dict[str, dict[str, Any]]:
    """Every kind by its name."""
    kinds = {"points": points(), "rows": rows(), "curves": curves("series"), "grid": curves("row")}
    return {name: chart.configure(**CONFIG).to_dict() for name, chart in kinds.items()}


def points() -> Any:
    """Results against a number: a series a network, the paper's hollow and dashed, whiskers where there are seeds."""
    x = alt.X("x:Q", scale=alt.Scale(zero=False, padding=16, nice=False))
    y = alt.Y("y:Q", scale=alt.Scale(zero=False))
    dashes = alt.when(PAPER).then(alt.value([5, 4])).otherwise(alt.value([1, 0]))
    lines = base().mark_line(strokeWidth=1.6).add_params(CHOSEN)
    lines = lines.encode(x=x, y=y, strokeDash=dashes, detail="line:N", opacity=opacity())
    return sized(alt.layer(lines, whiskers().encode(x=x, y="low:Q", y2="high:Q"), marks(x, y)))


def rows() -> Any:
    """Results row by row, where a table's rows are no numbers."""
    x = alt.X("x:Q", scale=alt.Scale(zero=False, padding=16))
    y = alt.Y("y:N", sort=None, axis=alt.Axis(labelLimit=alt.ExprRef("containerSize()[0] * 0.4"), grid=True))
    return sized(alt.layer(whiskers().add_params(CHOSEN).encode(y=y, x="low:Q", x2="high:Q"), marks(x, y)))


def curves(dash: str) -> Any:
    """Learning curves: a colour a series, a dash a value of the field `dash`, a band over seeds; points where there are few."""
    x, y = alt.X("x:Q", scale=alt.Scale(zero=True)), alt.Y("y:Q", scale=alt.Scale(zero=False))
    dashes = alt.StrokeDash(f"{dash}:N", legend=legend(**STROKES), scale=alt.Scale(range=DASHES))
    lines = base().mark_line(strokeWidth=2).add_params(CHOSEN)
    lines = lines.encode(x=x, y=y, strokeDash=dashes, detail="label:N", opacity=opacity())
    band = (
        base()
        .mark_area(strokeWidth=0)
        .encode(
            x=x,
            y="low:Q",
            y2="high:Q",
            detail="label:N",
            opacity=alt.when(CHOSEN).then(alt.value(0.16)).otherwise(alt.value(0)),
        )
    )
    near = nearest(fields=["label", "x"])
    few = CHOSEN & f"datum.count < {FEW}"
    dots = base().mark_point(filled=True, tooltip=VALUES).transform_joinaggregate(count="count()", groupby=["label"])
    dots = dots.encode(
        x=x,
        y=y,
        detail="label:N",
        size=alt.when(near).then(alt.value(110)).when("datum.count === 1").then(alt.value(90)).otherwise(alt.value(32)),
        opacity=alt.when(near).then(alt.value(1)).when(few).then(alt.value(1)).otherwise(alt.value(0)),
    )
    return sized(alt.layer(lines, band, dots.add_params(near)), **STROKES)


def whiskers() -> alt.Chart:
    """The spread over seeds."""
    return base().mark_rule(strokeWidth=1.6).encode(opacity=opacity())


def marks(x: alt.X, y: alt.Y) -> alt.Chart:
    """A mark a row, which tells its values when the pointer is near."""
    near = nearest()
    return (
        base()
        .mark_point(strokeWidth=1.8, tooltip=VALUES)
        .encode(
            x=x,
            y=y,
            fill=alt.when(PAPER).then(alt.value(CARD)).otherwise(alt.Fill("series:N", legend=legend())),
            shape=alt.Shape("series:N", legend=legend()),
            size=alt.when(near).then(alt.value(140)).otherwise(alt.value(75)),
            opacity=opacity(),
        )
        .add_params(near)
    )


def base() -> alt.Chart:
    return alt.Chart(alt.NamedData(name="values"))


def sized(chart: Any, **symbols: Any) -> Any:
    """As wide as there is room, a colour a series."""
    colours = alt.Color("series:N", legend=legend(**symbols))
    return chart.encode(color=colours).properties(width="container", height=HEIGHT)


def legend(**options: Any) -> alt.Legend:
    """In as many columns as there is room for."""
    return alt.Legend(columns=alt.ExprRef("max(1, floor(containerSize()[0] / 200))"), **options)


def nearest(**options: Any) -> alt.Parameter:
    """The mark that the pointer is nearest to."""
    return alt.selection_point(name="near", on="pointerover", clear="pointerout", nearest=True, empty=False, **options)


def opacity() -> Any:
    return alt.when(CHOSEN).then(alt.value(1)).otherwise(alt.value(FAINT))


# The series that a click on the legend leaves in full colour; without a click, all of them. It is a parameter of the
# first layer of a chart, which its legend is made for.
CHOSEN = alt.selection_point(name="chosen", fields=["series"], bind="legend")
