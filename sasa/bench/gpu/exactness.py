"""Every Triton kernel on the device against the equation in float64: outputs and all gradients, and the same bits again."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from sasa.bench.gpu.runner import Row, Tell
from sasa.bench.gpu.setting import Setting
from sasa.bench.ops import HEADS, SHAPES
from sasa.ops import local_attention, stem_attention, triton_backend
from sasa.ops.stem.arguments import OFFSETS, PLACES

UNITS = {torch.float32: 40, torch.bfloat16: 4, torch.float16: 4}  # in the last place, that a result may be off


class Attention(NamedTuple):
    """A call of local attention."""

    batch: int
    height: int
    width: int
    heads: int
    dim: int
    extent: int
    terms: str = "both"  # q.k and q.r; or "content" or "position" alone
    border: str = "mask"
    fused: bool = False  # whether query, key and value are parts of one map
    variant: int = 0  # of the kernels' block sizes

    def __str__(self) -> str:
        parts = ", parts of one map" if self.fused else ""
        parts += f", variant {self.variant}" if self.variant else ""
        shape = f"{self.batch}x{self.height}x{self.width}, {self.heads} heads of {self.dim}, k = {self.extent}"
        return f"{shape}, {self.terms}, {self.border}{parts}"

    @property
    def variants(self) -> "list[Attention]":
        """It in each variant of its kernels."""
        count = len(triton_backend.variants(self.extent, self.dim, 2, self.heads))
        return [self._replace(variant=n) for n in range(count)]

    def inputs(self, random: Callable[..., Tensor]) -> dict[str, Tensor | None]:
        """Query, key, value, row and column, as far as the terms have them."""
        qkv = random(self.batch, self.height, self.width, 3 * self.heads * self.dim).chunk(3, dim=-1)
        query, key, value = qkv if self.fused else (x.contiguous() for x in qkv)
        row, column = random(2, self.heads, self.extent, self.dim // 2)
        position = self.terms != "content"
        return {
            "query": query,
            "key": key if self.terms != "position" else None,
            "value": value,
            "row": row if position else None,
            "column": column if position else None,
        }

    def run(self, inputs: dict[str, Tensor | None], backend: str) -> dict[str, Tensor]:
        """Its output."""
        triton_backend.variant = self.variant  # also of the backward pass, in whatever thread
        options = {"heads": self.heads, "extent": self.extent, "border": self.border, "backend": backend}
        return {"output": local_attention(**inputs, **options)}  # type: ignore[arg-type]


class Stem(NamedTuple):
    """A call of stem attention."""

    batch: int
    height: int
    width: int
    heads: int
    dim: int
    kind: str  # of the values: "pointwise", "convolution" or "mixture"

    def __str__(self) -> str:
        return f"{self.batch}x{self.height}x{self.width}, {self.heads} heads of {self.dim}, {self.kind} values"

    def inputs(self, random: Callable[..., Tensor]) -> dict[str, Tensor | None]:
        """Pixels, query, key, value, mixture, row and column; q, k and v of size 1."""
        channels, side, mixtures = self.heads * self.dim, 4 if self.kind == "convolution" else 1, 4
        query, key = random(2, channels, 3) / 3**0.5
        mixed = self.kind == "mixture"
        value = random(mixtures if mixed else 1, channels, 3, side, side)
        row, column = random(2, self.heads, OFFSETS, self.dim // 2)
        return {
            "pixels": random(self.batch, self.height, self.width, 3),
            "query": query,
            "key": key,
            "value": value / (3 * side**2) ** 0.5,
            "mixture": random(PLACES, mixtures) if mixed else None,
            "row": row,
            "column": column,
        }

    def run(self, inputs: dict[str, Tensor | None], backend: str) -> dict[str, Tensor]:
        """Its outputs."""
        largest, *statistics = stem_attention(**inputs, heads=self.heads, backend=backend)  # type: ignore[arg-type]
        return {"largest": largest, "mean": statistics[0], "variance": statistics[1]}


Case = Attention | Stem
KINDS = ("pointwise", "convolution", "mixture")
TERMS, BORDERS = ("both", "content", "position"), ("mask", "zero")


def cases(small: bool) -> list[tuple[Case, torch.dtype]]:
    """All that is tried, the paper's own shapes first."""
    if small:
        return [
            (Attention(1, 5, 6, 1, 8, 3), torch.float32),
            (Attention(1, 9, 3, 2, 6, 3, "position", "zero", True, 5), torch.bfloat16),
            (Stem(1, 5, 6, 1, 4, "mixture"), torch.float32),
        ]
    maps = [Attention(2, side, side, HEADS, channels // HEADS, 7) for side, channels in SHAPES]
    stems: list[Case] = [Stem(2, 224, 224, 4, 16, kind) for kind in KINDS]
    odd: list[Case] = [x for y in BORDERS for x in Attention(2, 9, 13, 2, 6, 5, "both", y, True).variants]
    odd += [Attention(1, 1, 1, 1, 2, 7), Attention(1, 20, 3, 2, 32, 11), Attention(2, 5, 70, 4, 16, 9)]
    odd += [Stem(3, 9, 13, 2, 6, kind) for kind in KINDS] + [Stem(1, 1, 1, 1, 2, kind) for kind in KINDS]
    other = [
        x._replace(terms=terms, border=border)
        for x in maps
        for terms, border in product(TERMS, BORDERS)
        if (terms, border) != ("both", "mask")
    ]
    varied = [x for y in maps for x in y.variants[1:]]
    return list(product([*maps, *stems, *odd, *other], UNITS)) + list(product(varied, (torch.bfloat16,)))


def work(setting: Setting, shard: int, shards: int, tell: Tell) -> None:
    """Every shards-th case."""
    with setting.taken() as device:
        for case, dtype in cases(setting.small)[shard::shards]:
            tell(compared(case, dtype, device))


def compared(case: Case, dtype: torch.dtype, device: torch.device) -> Row:
    """The result that is furthest off, in shares of its largest value, and what may be; or why there is none."""
    torch.manual_seed(0)
    made = case.inputs(partial(torch.randn, device=device, dtype=dtype))
    row = {"kernel": type(case).__name__.lower(), "case": str(case), "dtype": str(dtype).removeprefix("torch.")}
    try:
        found, again = (results(case, made, "triton") for _ in range(2))
    except Exception as error:  # one that fails leaves the others
        return row | {"failure": f"{type(error).__name__}: {error}"[:500]}
    expected = results(case, {name: None if x is None else x.double() for name, x in made.items()}, "reference")
    errors = {}
    for name, x in found.items():
        unit = torch.finfo(x.dtype).eps * UNITS[x.dtype]
        size = expected[name].abs().max().clamp(min=case.dim)  # sums of dim products round at that size
        errors[name] = ((x.double() - expected[name]).abs().max() / size).item() / unit
    worst = max(errors, key=lambda name: errors[name] if errors[name] == errors[name] else float("inf"))
    same = all(torch.equal(x, again[name]) for name, x in found.items())
    return row | {"worst": worst, "of_allowed": errors[worst], "same_again": same, "failure": ""}


def results(case: Case, made: dict[str, Tensor | None], backend: str) -> dict[str, Tensor]:
    """Outputs, and the gradients of all inputs but a stem's pixels, for random gradients of the outputs."""
    inputs = {n: None if x is None else x.detach().requires_grad_(n != "pixels") for n, x in made.items()}
    outputs = case.run(inputs, backend)
    generator = torch.Generator().manual_seed(1)
    gradients = [  # which bfloat16 can hold, so that all dtypes have the same
        torch.randn(x.shape, generator=generator).bfloat16().to(x.device, x.dtype) for x in outputs.values()
    ]
    wanted = {name: x for name, x in inputs.items() if x is not None and x.requires_grad}
    found = torch.autograd.grad(list(outputs.values()), list(wanted.values()), gradients)
    named = outputs | {f"d_{name}": x for name, x in zip(wanted, found, strict=True)}
    return {name: x.detach() for name, x in named.items()}
