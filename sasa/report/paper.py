"""The paper's published numbers: tables 1 to 7, and the rows of figure 5, in the paper's order."""

from dataclasses import dataclass

from sasa.errors import unknown

# An implementation of the paper's networks comes this close to every published cost (G of FLOPs, M of parameters).
FLOPS_TOLERANCE = 0.13
PARAMS_TOLERANCE = 0.1

MEASURES = {  # names in records, and as the paper prints them
    "top1": "top-1",
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "APs",
    "ap_medium": "APm",
    "ap_large": "APl",
}
BOXES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


@dataclass(frozen=True)
class Row:
    """A published row: FLOPs in G (a multiply-add is 2), parameters in M, top-1 in %; None where the paper has none.

    A row of Table 2 has the six numbers of BOXES, in %, in the place of top-1.
    """

    name: str
    cells: tuple[str, ...]
    flops: float | None = None
    params: float | None = None
    top1: float | None = None
    boxes: tuple[float, ...] = ()

    def published(self, measure: str) -> float | None:
        """The published number of a measure."""
        if measure == "top1":
            return self.top1
        return self.boxes[BOXES.index(measure)] if self.boxes else None


@dataclass(frozen=True)
class Table:
    """A published table. `columns`, under `heading`, name its rows' cells; its `measures` were taken on `split`."""

    name: str
    title: str
    columns: tuple[str, ...]
    split: str
    rows: tuple[Row, ...]
    heading: str = ""
    measures: tuple[str, ...] = ("top1",)  # the first one is the row's result
    reference: str = (
        ""  # the row that the paper compares the others with; "a_*": the one that ends as a row's own name does
    )
    over: str = ""  # the same in words
    scale: str = "imagenet"  # the paper's own: at another one results do not compare with its results, only effects do
    setting: str = "ImageNet, 130 epochs"
    size: str = "224x224, 1000 classes"
    flops_tolerance: float = FLOPS_TOLERANCE
    params_tolerance: float = PARAMS_TOLERANCE
    note: str = ""
    folder: str = ""  # of a table of one's own: where its rows lie

    def reference_of(self, row: str) -> str:
        """The row that a row is compared with."""
        return self.reference.replace("*", row.rpartition("_")[2])


BASELINE, CONV_STEM, FULL = "baseline", "conv stem + attention", "full attention"

TABLE1 = Table(
    "table1",
    "Table 1: convolution and attention at three depths",
    ("network", "ResNet"),
    "test",
    (
        Row("baseline_26", (BASELINE, "26"), 4.7, 13.7, 74.5),
        Row("baseline_38", (BASELINE, "38"), 6.5, 19.6, 76.2),
        Row("baseline_50", (BASELINE, "50"), 8.2, 25.6, 76.9),
        Row("conv_stem_26", (CONV_STEM, "26"), 4.5, 10.3, 75.8),
        Row("conv_stem_38", (CONV_STEM, "38"), 5.7, 14.1, 77.1),
        Row("conv_stem_50", (CONV_STEM, "50"), 7.0, 18.0, 77.4),
        Row("full_26", (FULL, "26"), 4.7, 10.3, 74.8),
        Row("full_38", (FULL, "38"), 6.0, 14.1, 76.9),
        Row("full_50", (FULL, "50"), 7.2, 18.0, 77.6),
    ),
    reference="baseline_*",
    over="the baseline",
)

TABLE2 = Table(
    "table2",
    "Table 2: object detection with RetinaNet",
    ("heads + FPN", "backbone"),
    "test",
    (
        Row("conv_baseline", ("convolution", BASELINE), 182, 33.4, boxes=(36.5, 54.3, 39.0, 18.3, 40.6, 51.7)),
        Row("conv_conv_stem", ("convolution", CONV_STEM), 173, 25.9, boxes=(36.8, 54.6, 39.3, 18.4, 41.1, 51.7)),
        Row("conv_full", ("convolution", FULL), 173, 25.9, boxes=(36.2, 54.0, 38.7, 17.5, 40.3, 51.7)),
        Row("attention_conv_stem", ("attention", CONV_STEM), 111, 22.0, boxes=(36.6, 54.3, 39.1, 19.0, 40.7, 51.1)),
        Row("attention_full", ("attention", FULL), 110, 22.0, boxes=(36.6, 54.5, 39.2, 18.5, 40.6, 51.6)),
    ),
    reference="conv_baseline",
    over="convolution",
    scale="coco",
    measures=BOXES,
    setting="COCO 2017, 150 epochs",
    size="640x640, 90 classes",
    flops_tolerance=1.8,  # 1 % of the largest
    note="With attention in heads and FPN the text leads to 20.5 M parameters; where the published 22.0 M come from, "
    "it does not say.",
)

TABLE3 = Table(
    "table3",
    "Table 3: which layer groups use convolution, which attention",
    ("convolution", "attention"),
    "validation",
    (
        Row("attention", ("-", "1,2,3,4"), 7.0, 18.0, 80.2),
        Row("conv1", ("1", "2,3,4"), 7.3, 18.1, 80.7),
        Row("conv12", ("1,2", "3,4"), 7.5, 18.5, 80.7),
        Row("conv123", ("1,2,3", "4"), 8.0, 20.8, 80.2),
        Row("conv", ("1,2,3,4", "-"), 8.2, 25.6, 79.5),
        Row("attention1", ("2,3,4", "1"), 7.9, 25.5, 79.7),
        Row("attention12", ("3,4", "1,2"), 7.8, 25.0, 79.6),
        Row("attention123", ("4", "1,2,3"), 7.2, 22.7, 79.9),
    ),
    heading="layer groups",
    reference="conv",
    over="convolution",
)

TABLE4 = Table(
    "table4",
    "Table 4: spatial extent k",
    ("k",),
    "test",
    (
        Row("k3", ("3",), 6.6, 18.0, 76.4),
        Row("k5", ("5",), 6.7, 18.0, 77.2),
        Row("k7", ("7",), 7.0, 18.0, 77.4),
        Row("k9", ("9",), 7.3, 18.0, 77.7),
        Row("k11", ("11",), 7.7, 18.0, 77.6),
    ),
    reference="k7",
    over="k = 7",
)

TABLE5 = Table(
    "table5",
    "Table 5: positional encoding",
    ("positional encoding",),
    "validation",
    (
        Row("none", ("none",), 6.9, 18.0, 77.6),
        Row("absolute", ("absolute",), 6.9, 18.0, 78.2),
        Row("relative", ("relative",), 7.0, 18.0, 80.2),
    ),
    reference="none",
    over="none",
)

TABLE6 = Table(
    "table6",
    "Table 6: content and relative interactions",
    ("content q·k", "relative q·r"),
    "test",
    (
        Row("position", ("no", "yes"), 6.1, 16.7, 76.9),
        Row("content_position", ("yes", "yes"), 7.0, 18.0, 77.4),
    ),
    reference="content_position",
    over="q·k + q·r",
)

TABLE7 = Table(
    "table7",
    "Table 7: attention stem",
    ("attention stem",),
    "test",
    (
        Row("attention", ("stand-alone",), 7.1, None, 76.2),
        Row("attention_conv_values", ("spatial convolution for values",), 7.4, None, 77.2),
        Row("attention_spatial_values", ("spatially-aware values",), 7.2, None, 77.6),
    ),
    reference="attention",
    over="stand-alone",
)

# The paper draws figure 5 and prints no numbers; at width 1 its three networks are Table 1's ResNet-50.
_WIDTH_1 = {"baseline": TABLE1.rows[2], "conv_stem": TABLE1.rows[5], "full": TABLE1.rows[8]}


def width_row(prefix: str, percent: int) -> Row:
    same = _WIDTH_1[prefix]
    name, cells = f"{prefix}_{percent}", (same.cells[0], f"{percent / 100:.2f}")
    return Row(name, cells, same.flops, same.params, same.top1) if percent == 100 else Row(name, cells)


FIGURE5 = Table(
    "figure5",
    "Figure 5: ResNet-50 at several widths",
    ("network", "width"),
    "test",
    tuple(width_row(prefix, percent) for prefix in _WIDTH_1 for percent in (25, 50, 75, 100, 125)),
    reference="baseline_*",
    over="the baseline",
    note="The paper draws Figure 5 and prints none of its numbers: those of width 1 are Table 1's, the others stay empty.",
)

TABLES = {table.name: table for table in (TABLE1, TABLE2, TABLE3, TABLE4, TABLE5, TABLE6, TABLE7, FIGURE5)}


def find_table(name: str) -> Table:
    """The table of this name. Raises InputError, with the nearest names, for any other."""
    if name not in TABLES:
        raise unknown("table", name, TABLES)
    return TABLES[name]


def published(table: str, row: str) -> Row | None:
    """The published row, or None for a table or row that the paper does not have."""
    rows = TABLES[table].rows if table in TABLES else ()
    return next((published_row for published_row in rows if published_row.name == row), None)
