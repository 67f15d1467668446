"""What the Triton kernels' programs share: which tile and heads are theirs, and how they read and write them."""

import triton
import triton.language as tl


@triton.jit
def program_tile(width, heads, HEADS: tl.constexpr, TALL: tl.constexpr, WIDE: tl.constexpr):
    """This program's image, first head and tile; of each of its rows which of its heads it has, and the pixel's row and column.

    It has a row for each head and pixel. The heads of a tile run side by side.
    """
    groups = heads // HEADS
    head = tl.program_id(0) % groups * HEADS
    tile = tl.program_id(0) // groups
    tiles_wide = tl.cdiv(width, WIDE)
    place = tl.arange(0, HEADS * TALL * WIDE)
    part, pixel = split(place, HEADS, TALL * WIDE)
    y0 = tile // tiles_wide * TALL
    x0 = tile % tiles_wide * WIDE
    return tl.program_id(1).to(tl.int64), head, y0, x0, part, pixel // WIDE, pixel % WIDE


@triton.jit
def split(place, COUNT: tl.constexpr, SIZE: tl.constexpr):
    """Of places in COUNT parts of a size: which part, and the place in it."""
    if COUNT == 1:  # whose zeros need no registers
        return tl.zeros_like(place), place
    return place // SIZE, place % SIZE


@triton.jit
def load_pixels(
    base, y, x, height, width, row, pixel, SIZE: tl.constexpr, CHANNELS: tl.constexpr, UPCAST: tl.constexpr
):
    """SIZE channels of the pixels (y, x): (pixels, CHANNELS), zero outside the image."""
    c = tl.arange(0, CHANNELS)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    at = base + (y * row + x * pixel)[:, None] + c[None, :]
    values = tl.load(at, mask=inside[:, None] & (c < SIZE)[None, :], other=0.0)
    return values.to(tl.float32) if UPCAST else values


@triton.jit
def own(values, part, HEADS: tl.constexpr, DIM: tl.constexpr):
    """Pixels (rows, CHANNELS) with zeros for all but the channels of each row's head: its products are those of its head."""
    if HEADS == 1:
        return values
    c = tl.arange(0, values.shape[1])
    return tl.where(c[None, :] // DIM == part[:, None], values, 0.0).to(values.dtype)


@triton.jit
def store_pixels(
    base, values, y, x, height, width, row, pixel, part, HEADS: tl.constexpr, DIM: tl.constexpr, CHANNELS: tl.constexpr
):
    """Write of each row the channels of its head."""
    c = tl.arange(0, CHANNELS)
    inside = ((y < height) & (x < width))[:, None] & (c < HEADS * DIM)[None, :]
    if HEADS > 1:
        inside = inside & (c[None, :] // DIM == part[:, None])
    at = base + (y * row + x * pixel)[:, None] + c[None, :]
    tl.store(at, values.to(base.dtype.element_ty), mask=inside)


@triton.jit
def load_embedding(
    base, head, FIRST: tl.constexpr, STACKED: tl.constexpr, HEADS: tl.constexpr, EXTENT: tl.constexpr,
    DIM: tl.constexpr, OFFSETS: tl.constexpr, CHANNELS: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """The program's heads' embedding of the row or column offsets (OFFSETS, CHANNELS), from channel FIRST of each head on,
    zero elsewhere; or STACKED heads' one below the other (STACKED * OFFSETS, CHANNELS)."""
    HALF: tl.constexpr = DIM // 2
    below, offset = split(tl.arange(0, STACKED * OFFSETS)[:, None], STACKED, OFFSETS)
    of, c = split(tl.arange(0, CHANNELS)[None, :], HEADS, DIM)
    c -= FIRST
    taken = (offset < EXTENT) & (c >= 0) & (c < HALF)
    if HEADS > 1:
        taken = taken & (of < HEADS)
    if STACKED > 1:
        taken = taken & (of == below)
    values = tl.load(base + ((head + of) * EXTENT + offset) * HALF + c, mask=taken, other=0.0)
    return values.to(tl.float32) if UPCAST else values


@triton.jit
def load_numbers(base, at, inside, part, HEADS: tl.constexpr):
    """A number of each pixel for the head of each row: (rows, pixels), or (1, pixels) where a program has one head."""
    numbers = tl.load(base + at, mask=inside, other=0.0)[None, :]
    for head in tl.static_range(1, HEADS):
        of_head = tl.load(base + at + head, mask=inside, other=0.0)[None, :]
        numbers = tl.where(part[:, None] == head, of_head, numbers)
    return numbers


@triton.jit
def at_rows(by_row, h, i, r, ROWS: tl.constexpr, OFFSETS: tl.constexpr):
    """q . row of each pixel and key (pixels, ROWS * HALO), from q times all embeddings (pixels, OFFSETS): r is the key's row."""
    offset = tl.arange(0, OFFSETS)[None, :]
    found = tl.sum(tl.where(offset == (h - i)[:, None], by_row, 0.0), 1)[:, None]
    for row in tl.static_range(1, ROWS):
        of_row = tl.sum(tl.where(offset == (h + row - i)[:, None], by_row, 0.0), 1)[:, None]
        found = tl.where(r[None, :] == row, of_row, found)
    return found
