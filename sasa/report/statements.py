"""What the paper says of its tables, as claims that runs can decide: in the order of its tables."""

from collections.abc import Iterable
from dataclasses import dataclass

LITTLE = 1.0  # points of top-1, or of AP: "matches" and "costs little" mean a loss of less than this
BOTH = ("FLOPs", "parameters")


@dataclass(frozen=True)
class Claim:
    """A weighted sum of rows' mean results (top-1, or AP) lies above `margin`, in words `text`; weights sum to 0.

    Of each pair of rows in `cheaper` the first has less of the `costs`, at the paper's size. The rows differ in k alone
    where `extents` gives two: a claim that needs maps on which these two differ.
    """

    text: str
    weights: tuple[tuple[str, float], ...]
    margin: float = 0.0
    cheaper: tuple[tuple[str, str], ...] = ()
    costs: tuple[str, ...] = ()
    extents: tuple[int, int] | None = None

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(row for row, _ in self.weights)


@dataclass(frozen=True)
class Statement:
    """A statement of the paper and the table that shows it."""

    name: str
    text: str
    table: str
    claims: tuple[Claim, ...]


def over(text: str, above: Iterable[str], below: Iterable[str], margin: float = 0.0) -> Claim:
    """The mean of rows `above`, less that of rows `below`, is above the margin."""
    above, below = tuple(above), tuple(below)
    weights = [*((row, 1 / len(above)) for row in above), *((row, -1 / len(below)) for row in below)]
    return Claim(text, tuple(weights), margin)


def matches(text: str, row: str, other: str, costs: tuple[str, ...] = BOTH) -> Claim:
    """A row loses little to another one, and has less of the costs."""
    return Claim(text, ((row, 1.0), (other, -1.0)), -LITTLE, ((row, other),), costs)


def at_widths(text: str, network: str) -> Claim:
    """A network loses little to the baseline, on average over the widths of Figure 5, with fewer parameters at each."""
    pairs = tuple((f"{network}_{width}", f"baseline_{width}") for width in (25, 50, 75, 100, 125))
    mean = over(text, (row for row, _ in pairs), (other for _, other in pairs), -LITTLE)
    return Claim(text, mean.weights, mean.margin, pairs, ("parameters",))  # the narrowest has as many FLOPs


EARLY, LATE = ("conv1", "conv12", "conv123"), ("attention1", "attention12", "attention123")

STATEMENTS = (
    Statement(
        "cheaper",
        "At every depth attention matches convolution with fewer parameters and fewer FLOPs (full attention in ResNet-26: "
        "as many).",
        "table1",
        (
            *(
                matches(f"ResNet-{depth}: attention loses little", f"conv_stem_{depth}", f"baseline_{depth}")
                for depth in (26, 38, 50)
            ),
            *(
                matches(
                    f"ResNet-{depth}: full attention loses little",
                    f"full_{depth}",
                    f"baseline_{depth}",
                    BOTH if depth > 26 else ("parameters",),  # the paper prints 4.7 G for both
                )
                for depth in (26, 38, 50)
            ),
        ),
    ),
    Statement(
        "widths",
        "Attention matches convolution over a range of widths with fewer parameters.",
        "figure5",
        (
            at_widths("attention loses little, mean of five widths", "conv_stem"),
            at_widths("full attention loses little, mean of five widths", "full"),
        ),
    ),
    Statement(
        "detection",
        "Attention in backbone, FPN and heads detects as well as convolution, with fewer FLOPs and parameters.",
        "table2",
        tuple(
            matches(f"{text}: attention loses little", row, "conv_baseline")
            for text, row in (
                ("in the backbone, with a convolution stem", "conv_conv_stem"),
                ("in the backbone", "conv_full"),
                ("in FPN and heads, too, with a convolution stem", "attention_conv_stem"),
                ("everywhere", "attention_full"),
            )
        ),
    ),
    Statement(
        "early",
        "Convolutions early and attention late is best.",
        "table3",
        (
            over("convolution early over attention early", EARLY, LATE),
            over("convolution in groups 1 or 1, 2 over attention alone", ("conv1", "conv12"), ("attention",)),
            over("convolution in groups 1 or 1, 2 over convolution alone", ("conv1", "conv12"), ("conv",)),
        ),
    ),
    Statement(
        "late",
        "Attention early and convolutions late is worse than attention alone.",
        "table3",
        (over("attention alone over attention early", ("attention",), LATE),),
    ),
    Statement(
        "extent",
        "A spatial extent of k = 3 is poor, and from k = 7 accuracy flattens.",
        "table4",
        (
            over("k = 7, 9, 11 over k = 3", ("k7", "k9", "k11"), ("k3",)),
            Claim(
                "from 3 to 7 gains more than from 7 to 11",
                (("k7", 2.0), ("k3", -1.0), ("k11", -1.0)),
                extents=(7, 11),
            ),
        ),
    ),
    Statement(
        "position",
        "Relative positions are far better than absolute ones, which are better than none.",
        "table5",
        (
            over("relative over absolute by more than 1 point", ("relative",), ("absolute",), LITTLE),
            over("absolute over none", ("absolute",), ("none",)),
        ),
    ),
    Statement(
        "interaction",
        "Attention by position alone (q·r) costs little.",
        "table6",
        (over("q·r alone loses little to q·k + q·r", ("position",), ("content_position",), -LITTLE),),
    ),
    Statement(
        "stem",
        "The attention stem with spatially-aware values beats the plain one, and the one with convolutional values with "
        "fewer FLOPs.",
        "table7",
        (
            over("spatially-aware values over stand-alone", ("attention_spatial_values",), ("attention",)),
            Claim(
                "spatially-aware values over a convolution for values",
                (("attention_spatial_values", 1.0), ("attention_conv_values", -1.0)),
                cheaper=(("attention_spatial_values", "attention_conv_values"),),
                costs=("FLOPs",),
            ),
        ),
    ),
)
