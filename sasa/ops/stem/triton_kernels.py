"""The Triton kernels of a stem's blocks for NVIDIA GPUs, forward and backward. Launched by triton_backend.

A program has one head and a strip of blocks, which it takes one after the other: 16 pixels are the side of a matrix product,
so weights are one 16 x 16 matrix, in the registers of one warp. A pixel has few channels: what is made of them are sums of
elementwise products, channels first. All is in float32; what a strip adds up, its program alone adds, in the order of
the blocks, and the caller adds the strips.
"""

import triton
import triton.language as tl


@triton.jit
def load_block(
    pixels, n, down, right, height, width, image, row, column, channel, IN: tl.constexpr, INPUTS: tl.constexpr
):
    """The pixels of block n (INPUTS, 16), zero outside the image, and which of them lie inside."""
    place, c = tl.arange(0, 16), tl.arange(0, INPUTS)
    y = n // right % down * 4 + place // 4
    x = n % right * 4 + place % 4
    inside = (y < height) & (x < width)
    at = pixels + n // right // down * image + (y * row + x * column)[None, :] + (c * channel)[:, None]
    return tl.load(at, mask=(c < IN)[:, None] & inside[None, :], other=0.0).to(tl.float32), inside


@triton.jit
def load_windows(
    pixels, n, down, right, height, width, image, row, column, channel,
    IN: tl.constexpr, SIDE: tl.constexpr, SOURCES: tl.constexpr,
):  # fmt: skip
    """The SIDE x SIDE windows around the pixels of block n: (16, SOURCES), zero outside the image."""
    place, source = tl.arange(0, 16)[:, None], tl.arange(0, SOURCES)[None, :]
    y = n // right % down * 4 + place // 4 + source // SIDE % SIDE - (SIDE - 1) // 2
    x = n % right * 4 + place % 4 + source % SIDE - (SIDE - 1) // 2
    c = source // (SIDE * SIDE)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width) & (c < IN)
    at = pixels + n // right // down * image + y * row + x * column + c * channel
    return tl.load(at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def load_matrices(
    content, relative, values, head, place,
    IN: tl.constexpr, DIM: tl.constexpr, SIDE: tl.constexpr,
    INPUTS: tl.constexpr, CHANNELS: tl.constexpr, SOURCES: tl.constexpr,
):  # fmt: skip
    """A head's matrices: content (INPUTS, INPUTS), relative (INPUTS, 16, 16), and those of the values,
    (INPUTS, 16 places, CHANNELS) or of windows (SOURCES, CHANNELS); place: from one place's to the next's, or 0."""
    a, b = tl.arange(0, INPUTS)[:, None], tl.arange(0, INPUTS)[None, :]
    contents = tl.load(content + (head * IN + a) * IN + b, mask=(a < IN) & (b < IN), other=0.0)
    c = tl.arange(0, INPUTS)[:, None, None]
    i, j = tl.arange(0, 16)[None, :, None], tl.arange(0, 16)[None, None, :]
    relatives = tl.load(relative + ((head * IN + c) * 16 + i) * 16 + j, mask=(c < IN) & (i < 16), other=0.0)
    if SIDE == 1:
        d = tl.arange(0, CHANNELS)[None, None, :]
        matrices = tl.load(
            values + i * place + (head * DIM + d) * IN + c, mask=(c < IN) & (d < DIM) & (i < 16), other=0.0
        )
    else:
        source, d = tl.arange(0, SOURCES)[:, None], tl.arange(0, CHANNELS)[None, :]
        taken = (source < IN * SIDE * SIDE) & (d < DIM)
        matrices = tl.load(values + (head * DIM + d) * (IN * SIDE * SIDE) + source, mask=taken, other=0.0)
    return contents, relatives, matrices


@triton.jit
def attend(x, inside, contents, relatives):
    """The weights of a block's pixels (16 queries, 16 keys). contents and relatives carry log2(e)."""
    towards = tl.sum(contents[:, :, None] * x[None, :, :], 1)  # INPUTS, keys
    logits = tl.sum((towards[:, None, :] + relatives) * x[:, :, None], 0)
    logits = tl.where(inside[None, :], logits, float("-inf"))
    weights = tl.exp2(logits - tl.max(logits, 1)[:, None])
    return weights / tl.sum(weights, 1)[:, None]


@triton.jit
def outputs(
    pixels, n, contents, relatives, matrices, down, right, height, width, image, row, column, channel,
    IN: tl.constexpr, SIDE: tl.constexpr, INPUTS: tl.constexpr, SOURCES: tl.constexpr,
):  # fmt: skip
    """Of block n: its pixels and which of them are inside, the weights, what the values are made of, the values, and what
    attention makes of them (16, CHANNELS)."""
    x, inside = load_block(pixels, n, down, right, height, width, image, row, column, channel, IN, INPUTS)
    weights = attend(x, inside, contents, relatives)
    if SIDE == 1:
        z = x
        v = tl.sum(x[:, :, None] * matrices, 0)
    else:
        z = load_windows(pixels, n, down, right, height, width, image, row, column, channel, IN, SIDE, SOURCES)
        v = tl.dot(z, matrices, input_precision="ieee")
    return x, inside, weights, z, v, tl.dot(weights, v, input_precision="ieee")


@triton.jit
def forward_kernel(
    pixels, content, relative, values, largest, places, counts, means, squares,
    place, heads, blocks, length, down, right, height, width, image, row, column, channel,
    IN: tl.constexpr, DIM: tl.constexpr, SIDE: tl.constexpr,
    INPUTS: tl.constexpr, CHANNELS: tl.constexpr, SOURCES: tl.constexpr,
):  # fmt: skip
    """Each block's maxima and their places; of each strip the count, means and sums of squares around them of its outputs."""
    head, strip = tl.program_id(0) % heads, tl.program_id(0) // heads
    contents, relatives, matrices = load_matrices(
        content, relative, values, head, place, IN, DIM, SIDE, INPUTS, CHANNELS, SOURCES
    )
    i, d = tl.arange(0, 16)[:, None], tl.arange(0, CHANNELS)
    count = 0.0
    mean = tl.zeros([CHANNELS], tl.float32)
    square = tl.zeros([CHANNELS], tl.float32)
    first = strip.to(tl.int64) * length
    for step in range(0, tl.minimum(length, blocks - first).to(tl.int32)):
        n = first + step
        _x, inside, _weights, _z, _v, y = outputs(
            pixels, n, contents, relatives, matrices,
            down, right, height, width, image, row, column, channel, IN, SIDE, INPUTS, SOURCES,
        )  # fmt: skip
        valid = inside[:, None]
        # What is no number counts as the largest, and of equal ones the first does.
        at = tl.argmax(tl.where(valid, tl.where(y == y, y, float("inf")), float("-inf")), 0)
        most = tl.sum(tl.where(i == at[None, :], y, 0.0), 0)
        to = n * heads * DIM + head * DIM + d
        tl.store(largest + to, most.to(largest.dtype.element_ty), mask=d < DIM)
        tl.store(places + to, at.to(tl.uint8), mask=d < DIM)
        here = tl.sum(inside.to(tl.float32), 0)
        middle = tl.sum(tl.where(valid, y, 0.0), 0) / here
        apart = tl.where(valid, y - middle[None, :], 0.0)
        share = here / (count + here)
        away = middle - mean
        square += tl.sum(apart * apart, 0) + away * away * count * share
        mean += away * share
        count += here
    to = strip * heads * DIM + head * DIM + d
    tl.store(counts + to, tl.zeros([CHANNELS], tl.float32) + count, mask=d < DIM)
    tl.store(means + to, mean, mask=d < DIM)
    tl.store(squares + to, square, mask=d < DIM)


@triton.jit
def backward_kernel(
    pixels, content, relative, values, largest, places, constant, slope, d_content, d_relative, d_values,
    place, heads, blocks, length, down, right, height, width, image, row, column, channel,
    IN: tl.constexpr, DIM: tl.constexpr, SIDE: tl.constexpr,
    INPUTS: tl.constexpr, CHANNELS: tl.constexpr, SOURCES: tl.constexpr,
):  # fmt: skip
    """A strip's share of the gradients of a head's matrices, from those of its maxima (`largest`), and of every output
    y: constant + slope * y. d_content: (strips, heads, IN, IN); d_relative: (strips, heads, IN, 16, 16); d_values:
    (strips, heads, IN, 16, DIM), or of windows (strips, heads, sources, DIM)."""
    head, strip = tl.program_id(0) % heads, tl.program_id(0) // heads
    contents, relatives, matrices = load_matrices(
        content, relative, values, head, place, IN, DIM, SIDE, INPUTS, CHANNELS, SOURCES
    )
    i, d = tl.arange(0, 16)[:, None], tl.arange(0, CHANNELS)
    constants = tl.load(constant + head * DIM + d, mask=d < DIM, other=0.0)
    slopes = tl.load(slope + head * DIM + d, mask=d < DIM, other=0.0)
    contents_sum = tl.zeros([INPUTS, INPUTS, 16], tl.float32)
    relatives_sum = tl.zeros([INPUTS, 16, 16], tl.float32)
    matrices_sum = tl.zeros_like(matrices)
    first = strip.to(tl.int64) * length
    for step in range(0, tl.minimum(length, blocks - first).to(tl.int32)):
        n = first + step
        x, inside, weights, z, v, y = outputs(
            pixels, n, contents, relatives, matrices,
            down, right, height, width, image, row, column, channel, IN, SIDE, INPUTS, SOURCES,
        )  # fmt: skip
        at = n * heads * DIM + head * DIM + d
        d_largest = tl.load(largest + at, mask=d < DIM, other=0.0).to(tl.float32)
        where = tl.load(places + at, mask=d < DIM, other=0)
        g = constants[None, :] + slopes[None, :] * y + tl.where(i == where[None, :], d_largest[None, :], 0.0)
        g = tl.where(inside[:, None], g, 0.0)
        apart = tl.dot(g, tl.trans(v), input_precision="ieee")
        apart -= tl.sum(weights * apart, 1)[:, None]
        apart -= tl.sum(weights * apart, 1)[:, None]  # what is left of it, since weights do not sum to 1 exactly
        d_logits = weights * apart
        d_v = tl.dot(tl.trans(weights), g, input_precision="ieee")
        seen = tl.sum(d_logits[None, :, :] * x[:, None, :], 2)  # INPUTS, queries
        contents_sum += x[:, None, :] * seen[None, :, :]
        relatives_sum += x[:, :, None] * d_logits[None, :, :]
        if SIDE == 1:
            matrices_sum += x[:, :, None] * d_v[None, :, :]
        else:
            matrices_sum += tl.dot(tl.trans(z), d_v, input_precision="ieee")
    share = tl.program_id(0).to(tl.int64) * IN
    a, b = tl.arange(0, INPUTS)[:, None], tl.arange(0, INPUTS)[None, :]
    tl.store(d_content + (share + a) * IN + b, tl.sum(contents_sum, 2), mask=(a < IN) & (b < IN))
    c = tl.arange(0, INPUTS)[:, None, None]
    query, key = tl.arange(0, 16)[None, :, None], tl.arange(0, 16)[None, None, :]
    tl.store(d_relative + ((share + c) * 16 + query) * 16 + key, relatives_sum, mask=(c < IN) & (key < 16))
    if SIDE == 1:
        to = d_values + ((share + c) * 16 + query) * DIM + d[None, None, :]
        tl.store(to, matrices_sum, mask=(c < IN) & (d < DIM)[None, None, :])
    else:
        source = tl.arange(0, SOURCES)[:, None]
        to = d_values + (share * SIDE * SIDE + source) * DIM + d[None, :]
        tl.store(to, matrices_sum, mask=(source < IN * SIDE * SIDE) & (d < DIM)[None, :])
