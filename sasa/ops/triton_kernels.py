"""The Triton kernels: fused forward and backward of local attention for NVIDIA GPUs. Launched by triton_backend.

A program has HEADS heads of one image and a tile of TALL x WIDE pixels. It walks over the rows of the tile's halo, ROWS at
once and HALO pixels each (a power of two that holds WIDE + extent - 1), so that each product is a matrix product of tensor cores.
Channels are padded to CHANNELS and offsets to OFFSETS, powers of two of at least 16. q.r needs no extent^2 terms either:
q times all row embeddings and all column embeddings are two small matrices, read at the offset of each key.

Two narrow heads fill what is padding otherwise: PIXELS, a tile's pixels for each of the heads, have zeros in the channels of the
other one, so that their products with keys and values of ALL channels are those of their own.
"""

import triton
import triton.language as tl

from sasa.ops.triton_tiles import (
    at_rows,
    load_embedding,
    load_numbers,
    load_pixels,
    own,
    program_tile,
    split,
    store_pixels,
)

MAP = ["height", "width"]  # whatever their size: one kernel for all maps


@triton.jit(do_not_specialize=MAP)
def forward_kernel(
    query, key, value, row, column, output, total, scale, height, width, heads,
    q_image, q_row, q_pixel, k_image, k_row, k_pixel, v_image, v_row, v_pixel,
    CONTENT: tl.constexpr, POSITION: tl.constexpr, ZERO: tl.constexpr, EXTENT: tl.constexpr, DIM: tl.constexpr,
    TALL: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, HEADS: tl.constexpr, HALO: tl.constexpr,
    OFFSETS: tl.constexpr, CHANNELS: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Output, and the log-sum-exp in base 2 of logits times log2(e) as natural logarithm. scale carries log2(e)."""
    PAD: tl.constexpr = EXTENT // 2
    ALL: tl.constexpr = HEADS * DIM
    PIXELS: tl.constexpr = HEADS * TALL * WIDE
    image, head, y0, x0, part, i, j = program_tile(width, heads, HEADS, TALL, WIDE)
    y, x = y0 + i, x0 + j
    q = load_pixels(query + image * q_image + head * DIM, y, x, height, width, q_row, q_pixel, ALL, CHANNELS, UPCAST)
    q = own(q, part, HEADS, DIM)
    r, c = split(tl.arange(0, ROWS * HALO), ROWS, HALO)
    b = c[None, :] - j[:, None]  # column offset of each key, by query
    if POSITION:
        rows = load_embedding(row, head, 0, 1, HEADS, EXTENT, DIM, OFFSETS, CHANNELS, UPCAST)
        columns = load_embedding(column, head, DIM // 2, 1, HEADS, EXTENT, DIM, OFFSETS, CHANNELS, UPCAST)
        by_row = tl.dot(q, tl.trans(rows), input_precision="ieee")  # pixels, OFFSETS
        by_column = tl.dot(q, tl.trans(columns), input_precision="ieee")
        across = tl.gather(by_column, tl.minimum(tl.maximum(b, 0), EXTENT - 1), 1)  # pixels, keys
    key_x = x0 - PAD + c
    seen = (b >= 0) & (b < EXTENT)
    first, last = 0, TALL + EXTENT - 1
    if not ZERO:
        seen = seen & ((key_x >= 0) & (key_x < width))[None, :]
        first, last = tl.maximum(0, PAD - y0), tl.minimum(last, height + PAD - y0)
    most = tl.full([PIXELS], float("-inf"), tl.float32)
    sums = tl.zeros([PIXELS], tl.float32)
    result = tl.zeros([PIXELS, CHANNELS], tl.float32)
    for h in range(first, last, ROWS):
        key_y = y0 - PAD + h + r
        a = (h + r)[None, :] - i[:, None]  # row offset of each key, by query
        logits = tl.zeros([PIXELS, ROWS * HALO], tl.float32)
        if CONTENT:
            k = load_pixels(
                key + image * k_image + head * DIM, key_y, key_x, height, width, k_row, k_pixel, ALL, CHANNELS, UPCAST
            )
            logits = tl.dot(q, tl.trans(k), input_precision="ieee")
        if POSITION:
            logits += across + at_rows(by_row, h, i, r, ROWS, OFFSETS)
        taken = seen & (a >= 0) & (a < EXTENT)
        if ROWS > 1 and not ZERO:  # of the last rows some may lie below the image
            taken = taken & (key_y < height)[None, :]
        logits = tl.where(taken, logits * scale, float("-inf"))
        new = tl.maximum(most, tl.max(logits, 1))
        base = tl.where(new == float("-inf"), 0.0, new)  # no key yet: exp2(-inf - 0) = 0, where -inf - -inf is NaN
        weights = tl.exp2(logits - base[:, None])
        shrink = tl.exp2(most - base)
        sums = sums * shrink + tl.sum(weights, 1)
        v = load_pixels(
            value + image * v_image + head * DIM, key_y, key_x, height, width, v_row, v_pixel, ALL, CHANNELS, UPCAST
        )
        result = result * shrink[:, None] + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        most = new
    pixels = heads * DIM
    base = output + image * height * width * pixels + head * DIM
    store_pixels(base, result / sums[:, None], y, x, height, width, width * pixels, pixels, part, HEADS, DIM, CHANNELS)
    at = total + image * height * width * heads + (y * width + x) * heads + head + part
    tl.store(at, (most + tl.log2(sums)) * 0.6931471805599453, mask=(y < height) & (x < width))


@triton.jit(do_not_specialize=MAP)
def backward_query_kernel(
    gradient, query, key, value, row, column, output, total, d_query, means, shares,
    scale, height, width, heads,
    q_image, q_row, q_pixel, k_image, k_row, k_pixel, v_image, v_row, v_pixel,
    CONTENT: tl.constexpr, POSITION: tl.constexpr, ZERO: tl.constexpr, EXTENT: tl.constexpr, DIM: tl.constexpr,
    TALL: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, HEADS: tl.constexpr, HALO: tl.constexpr,
    OFFSETS: tl.constexpr, CHANNELS: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """d_query, the means output . gradient for the other kernel, and this tile's share of d_row and d_column.

    shares: (images, tiles, heads, row and column, extent, DIM / 2), summed by the caller in that order.
    """
    PAD: tl.constexpr = EXTENT // 2
    HALF: tl.constexpr = DIM // 2
    ALL: tl.constexpr = HEADS * DIM
    PIXELS: tl.constexpr = HEADS * TALL * WIDE
    image, head, y0, x0, part, i, j = program_tile(width, heads, HEADS, TALL, WIDE)
    y, x = y0 + i, x0 + j
    q = load_pixels(query + image * q_image + head * DIM, y, x, height, width, q_row, q_pixel, ALL, CHANNELS, UPCAST)
    q = own(q, part, HEADS, DIM)
    pixels = heads * DIM
    whole = image * height * width * pixels + head * DIM
    g = load_pixels(gradient + whole, y, x, height, width, width * pixels, pixels, ALL, CHANNELS, UPCAST)
    o = load_pixels(output + whole, y, x, height, width, width * pixels, pixels, ALL, CHANNELS, UPCAST)
    g = own(g, part, HEADS, DIM)
    mean = tl.sum(o.to(tl.float32) * g.to(tl.float32), 1)
    at = image * height * width * heads + (y * width + x) * heads + head + part
    inside = (y < height) & (x < width)
    tl.store(means + at, mean, mask=inside)
    sums = tl.load(total + at, mask=inside, other=0.0) * 1.4426950408889634
    r, c = split(tl.arange(0, ROWS * HALO), ROWS, HALO)
    b = c[None, :] - j[:, None]
    offset = tl.arange(0, OFFSETS)[None, :]
    if POSITION:
        rows = load_embedding(row, head, 0, 1, HEADS, EXTENT, DIM, OFFSETS, CHANNELS, UPCAST)
        columns = load_embedding(column, head, DIM // 2, 1, HEADS, EXTENT, DIM, OFFSETS, CHANNELS, UPCAST)
        by_row = tl.dot(q, tl.trans(rows), input_precision="ieee")
        by_column = tl.dot(q, tl.trans(columns), input_precision="ieee")
        across = tl.gather(by_column, tl.minimum(tl.maximum(b, 0), EXTENT - 1), 1)
        d_rows = tl.zeros([PIXELS, OFFSETS], tl.float32)
        d_across = tl.zeros([PIXELS, ROWS * HALO], tl.float32)
    key_x = x0 - PAD + c
    seen = (b >= 0) & (b < EXTENT)
    first, last = 0, TALL + EXTENT - 1
    if not ZERO:
        seen = seen & ((key_x >= 0) & (key_x < width))[None, :]
        first, last = tl.maximum(0, PAD - y0), tl.minimum(last, height + PAD - y0)
    result = tl.zeros([PIXELS, CHANNELS], tl.float32)
    for h in range(first, last, ROWS):
        key_y = y0 - PAD + h + r
        a = (h + r)[None, :] - i[:, None]  # row offset of each key, by query
        logits = tl.zeros([PIXELS, ROWS * HALO], tl.float32)
        if CONTENT:
            k = load_pixels(
                key + image * k_image + head * DIM, key_y, key_x, height, width, k_row, k_pixel, ALL, CHANNELS, UPCAST
            )
            logits = tl.dot(q, tl.trans(k), input_precision="ieee")
        if POSITION:
            logits += across + at_rows(by_row, h, i, r, ROWS, OFFSETS)
        taken = seen & (a >= 0) & (a < EXTENT)
        if ROWS > 1 and not ZERO:
            taken = taken & (key_y < height)[None, :]
        logits = tl.where(taken, logits * scale - sums[:, None], float("-inf"))
        weights = tl.exp2(logits)
        v = load_pixels(
            value + image * v_image + head * DIM, key_y, key_x, height, width, v_row, v_pixel, ALL, CHANNELS, UPCAST
        )
        d_logits = weights * (tl.dot(g, tl.trans(v), input_precision="ieee") - mean[:, None])
        if CONTENT:
            result += tl.dot(d_logits.to(k.dtype), k, input_precision="ieee")
        if POSITION:
            for n in tl.static_range(ROWS):
                of_row = tl.sum(tl.where(r[None, :] == n, d_logits, 0.0), 1)[:, None]
                d_rows += tl.where(offset == (h + n - i)[:, None], of_row, 0.0)
            d_across += d_logits
    natural = scale * 0.6931471805599453
    if POSITION:
        place = tl.minimum(j[:, None] + offset, HALO - 1)
        d_columns = tl.gather(d_across, place, 1)
        for n in tl.static_range(1, ROWS):
            d_columns += tl.gather(d_across, place + n * HALO, 1)
        d_columns = tl.where(offset < EXTENT, d_columns, 0.0)
        d_rows, d_columns = d_rows.to(q.dtype), d_columns.to(q.dtype)
        result += tl.dot(d_rows, rows, input_precision="ieee") + tl.dot(d_columns, columns, input_precision="ieee")
        a_of = tl.arange(0, OFFSETS)[:, None]
        of, channel = split(tl.arange(0, CHANNELS)[None, :], HEADS, DIM)
        share = ((image * tl.num_programs(0) + tl.program_id(0)) * HEADS + of) * 2 * EXTENT * HALF
        to = shares + share + a_of * HALF + channel
        written = (a_of < EXTENT) & (of < HEADS)
        row_share = tl.dot(tl.trans(d_rows), q, input_precision="ieee") * natural
        tl.store(to, row_share, mask=written & (channel < HALF))
        column_share = tl.dot(tl.trans(d_columns), q, input_precision="ieee") * natural
        tl.store(to + (EXTENT - 1) * HALF, column_share, mask=written & (channel >= HALF) & (channel < DIM))
    store_pixels(
        d_query + whole, result * natural, y, x, height, width, width * pixels, pixels, part, HEADS, DIM, CHANNELS
    )


@triton.jit(do_not_specialize=MAP)
def backward_key_kernel(
    gradient, query, key, value, row, column, total, means, d_key, d_value,
    scale, height, width, heads,
    q_image, q_row, q_pixel, k_image, k_row, k_pixel, v_image, v_row, v_pixel,
    CONTENT: tl.constexpr, POSITION: tl.constexpr, ZERO: tl.constexpr, EXTENT: tl.constexpr, DIM: tl.constexpr,
    TALL: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, HEADS: tl.constexpr, HALO: tl.constexpr,
    OFFSETS: tl.constexpr, CHANNELS: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """d_key and d_value of a tile of keys, walking over the rows of queries that see it. Matrices are (keys, queries)."""
    PAD: tl.constexpr = EXTENT // 2
    ALL: tl.constexpr = HEADS * DIM
    PIXELS: tl.constexpr = HEADS * TALL * WIDE
    image, head, y0, x0, part, i, j = program_tile(width, heads, HEADS, TALL, WIDE)
    y, x = y0 + i, x0 + j
    v = load_pixels(value + image * v_image + head * DIM, y, x, height, width, v_row, v_pixel, ALL, CHANNELS, UPCAST)
    v = own(v, part, HEADS, DIM)
    if CONTENT:
        k = load_pixels(key + image * k_image + head * DIM, y, x, height, width, k_row, k_pixel, ALL, CHANNELS, UPCAST)
        k = own(k, part, HEADS, DIM)
        d_keys = tl.zeros([PIXELS, CHANNELS], tl.float32)
    if POSITION:
        rows = load_embedding(row, head, 0, HEADS, HEADS, EXTENT, DIM, OFFSETS, CHANNELS, UPCAST)
        columns = load_embedding(column, head, DIM // 2, HEADS, HEADS, EXTENT, DIM, OFFSETS, CHANNELS, UPCAST)
    d_values = tl.zeros([PIXELS, CHANNELS], tl.float32)
    r, c = split(tl.arange(0, ROWS * HALO), ROWS, HALO)
    query_x = x0 - PAD + c
    b = x[:, None] - query_x[None, :] + PAD  # column offset of the key, by query
    inside = (query_x >= 0) & (query_x < width)
    seen = (b >= 0) & (b < EXTENT) & inside[None, :]
    pixels = heads * DIM
    # Queries lie inside the image whatever the border; keys outside it have no gradient.
    for h in range(tl.maximum(0, PAD - y0), tl.minimum(TALL + EXTENT - 1, height + PAD - y0), ROWS):
        query_y = y0 - PAD + h + r
        here = inside
        if ROWS > 1:  # of the last rows some may lie below the image
            here = inside & (query_y < height)
        q = load_pixels(
            query + image * q_image + head * DIM, query_y, query_x, height, width, q_row, q_pixel, ALL, CHANNELS, UPCAST
        )
        g = load_pixels(
            gradient + image * height * width * pixels + head * DIM,
            query_y, query_x, height, width, width * pixels, pixels, ALL, CHANNELS, UPCAST,
        )  # fmt: skip
        at = image * height * width * heads + (query_y * width + query_x) * heads + head
        sums = load_numbers(total, at, here, part, HEADS) * 1.4426950408889634
        mean = load_numbers(means, at, here, part, HEADS)
        a = i[:, None] + (EXTENT - 1 - h - r)[None, :]  # row offset of the key, by query
        logits = tl.zeros([PIXELS, ROWS * HALO], tl.float32)
        if CONTENT:
            logits = tl.dot(k, tl.trans(q), input_precision="ieee")
        if POSITION:
            by_row = tl.dot(rows, tl.trans(q), input_precision="ieee")  # HEADS * OFFSETS, queries
            by_column = tl.dot(columns, tl.trans(q), input_precision="ieee")
            a_of = tl.minimum(tl.maximum(a, 0), EXTENT - 1) + part[:, None] * OFFSETS
            b_of = tl.minimum(tl.maximum(b, 0), EXTENT - 1) + part[:, None] * OFFSETS
            logits += tl.gather(by_row, a_of, 0) + tl.gather(by_column, b_of, 0)
        taken = seen & (a >= 0) & (a < EXTENT)
        if ROWS > 1:
            taken = taken & here[None, :]
        weights = tl.exp2(tl.where(taken, logits * scale - sums, float("-inf")))
        d_values += tl.dot(weights.to(g.dtype), g, input_precision="ieee")
        if CONTENT:
            d_logits = weights * (tl.dot(v, tl.trans(g), input_precision="ieee") - mean)
            d_keys += tl.dot(d_logits.to(q.dtype), q, input_precision="ieee")
    whole = image * height * width * pixels + head * DIM
    store_pixels(d_value + whole, d_values, y, x, height, width, width * pixels, pixels, part, HEADS, DIM, CHANNELS)
    if CONTENT:
        d_keys = d_keys * (scale * 0.6931471805599453)
        store_pixels(d_key + whole, d_keys, y, x, height, width, width * pixels, pixels, part, HEADS, DIM, CHANNELS)
