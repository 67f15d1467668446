"""The Triton kernels: fused forward and backward of local attention for NVIDIA GPUs. Launched by triton_backend.

A program has one head of one image and a tile of TALL x WIDE pixels. It walks over the rows of the tile's halo, ROWS at
once and HALO pixels each (a power of two that holds WIDE + extent - 1), so that each product is a matrix product of tensor cores.
Channels are padded to CHANNELS and offsets to OFFSETS, powers of two of at least 16. q.r needs no extent^2 terms either:
q times all row embeddings and all column embeddings are two small matrices, read at the offset of each key.
"""

import triton
import triton.language as tl


@triton.jit
def program_tile(width, heads, TALL: tl.constexpr, WIDE: tl.constexpr):
    """This program's image, head and tile, and its pixels' rows and columns. The heads of a tile run side by side."""
    head = tl.program_id(0) % heads
    tile = tl.program_id(0) // heads
    tiles_wide = tl.cdiv(width, WIDE)
    pixel = tl.arange(0, TALL * WIDE)
    y0 = tile // tiles_wide * TALL
    x0 = tile % tiles_wide * WIDE
    return tl.program_id(1).to(tl.int64), head, y0, x0, pixel // WIDE, pixel % WIDE


@triton.jit
def load_pixels(base, y, x, height, width, row, pixel, DIM: tl.constexpr, CHANNELS: tl.constexpr, UPCAST: tl.constexpr):
    """Channels of the pixels (y, x): (pixels, CHANNELS), zero outside the image."""
    c = tl.arange(0, CHANNELS)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    at = base + (y * row + x * pixel)[:, None] + c[None, :]
    values = tl.load(at, mask=inside[:, None] & (c < DIM)[None, :], other=0.0)
    return values.to(tl.float32) if UPCAST else values


@triton.jit
def store_pixels(base, values, y, x, height, width, row, pixel, DIM: tl.constexpr, CHANNELS: tl.constexpr):
    c = tl.arange(0, CHANNELS)
    inside = (y < height) & (x < width)
    at = base + (y * row + x * pixel)[:, None] + c[None, :]
    tl.store(at, values.to(base.dtype.element_ty), mask=inside[:, None] & (c < DIM)[None, :])


@triton.jit
def load_embedding(
    base, head, EXTENT: tl.constexpr, FIRST: tl.constexpr, HALF: tl.constexpr,
    OFFSETS: tl.constexpr, CHANNELS: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """A head's embedding of the row or column offsets (OFFSETS, CHANNELS), its channels at FIRST, zero elsewhere."""
    offset = tl.arange(0, OFFSETS)[:, None]
    c = tl.arange(0, CHANNELS)[None, :] - FIRST
    at = base + (head * EXTENT + offset) * HALF + c
    values = tl.load(at, mask=(offset < EXTENT) & (c >= 0) & (c < HALF), other=0.0)
    return values.to(tl.float32) if UPCAST else values


@triton.jit
def halo(ROWS: tl.constexpr, HALO: tl.constexpr):
    """Row and column of what is taken of the halo at once: (ROWS * HALO) each."""
    place = tl.arange(0, ROWS * HALO)
    if ROWS == 1:  # whose zeros need no registers
        return tl.zeros([HALO], tl.int32), place
    return place // HALO, place % HALO


@triton.jit
def at_rows(by_row, h, i, r, ROWS: tl.constexpr, OFFSETS: tl.constexpr):
    """q . row of each pixel and key (pixels, ROWS * HALO), from q times all embeddings (pixels, OFFSETS): r is the key's row."""
    offset = tl.arange(0, OFFSETS)[None, :]
    found = tl.sum(tl.where(offset == (h - i)[:, None], by_row, 0.0), 1)[:, None]
    for row in tl.static_range(1, ROWS):
        of_row = tl.sum(tl.where(offset == (h + row - i)[:, None], by_row, 0.0), 1)[:, None]
        found = tl.where(r[None, :] == row, of_row, found)
    return found


@triton.jit
def forward_kernel(
    query, key, value, row, column, output, total, scale, height, width, heads,
    q_image, q_row, q_pixel, k_image, k_row, k_pixel, v_image, v_row, v_pixel,
    CONTENT: tl.constexpr, POSITION: tl.constexpr, ZERO: tl.constexpr, EXTENT: tl.constexpr, DIM: tl.constexpr,
    TALL: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, HALO: tl.constexpr, OFFSETS: tl.constexpr,
    CHANNELS: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Output, and the log-sum-exp in base 2 of logits times log2(e) as natural logarithm. scale carries log2(e)."""
    PAD: tl.constexpr = EXTENT // 2
    HALF: tl.constexpr = DIM // 2
    image, head, y0, x0, i, j = program_tile(width, heads, TALL, WIDE)
    y, x = y0 + i, x0 + j
    q = load_pixels(query + image * q_image + head * DIM, y, x, height, width, q_row, q_pixel, DIM, CHANNELS, UPCAST)
    r, c = halo(ROWS, HALO)
    b = c[None, :] - j[:, None]  # column offset of each key, by query
    if POSITION:
        rows = load_embedding(row, head, EXTENT, 0, HALF, OFFSETS, CHANNELS, UPCAST)
        columns = load_embedding(column, head, EXTENT, HALF, HALF, OFFSETS, CHANNELS, UPCAST)
        by_row = tl.dot(q, tl.trans(rows), input_precision="ieee")  # pixels, OFFSETS
        by_column = tl.dot(q, tl.trans(columns), input_precision="ieee")
        across = tl.gather(by_column, tl.minimum(tl.maximum(b, 0), EXTENT - 1), 1)  # pixels, keys
    key_x = x0 - PAD + c
    seen = (b >= 0) & (b < EXTENT)
    first, last = 0, TALL + EXTENT - 1
    if not ZERO:
        seen = seen & ((key_x >= 0) & (key_x < width))[None, :]
        first, last = tl.maximum(0, PAD - y0), tl.minimum(last, height + PAD - y0)
    most = tl.full([TALL * WIDE], float("-inf"), tl.float32)
    sums = tl.zeros([TALL * WIDE], tl.float32)
    result = tl.zeros([TALL * WIDE, CHANNELS], tl.float32)
    for h in range(first, last, ROWS):
        key_y = y0 - PAD + h + r
        a = (h + r)[None, :] - i[:, None]  # row offset of each key, by query
        logits = tl.zeros([TALL * WIDE, ROWS * HALO], tl.float32)
        if CONTENT:
            k = load_pixels(
                key + image * k_image + head * DIM, key_y, key_x, height, width, k_row, k_pixel, DIM, CHANNELS, UPCAST
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
            value + image * v_image + head * DIM, key_y, key_x, height, width, v_row, v_pixel, DIM, CHANNELS, UPCAST
        )
        result = result * shrink[:, None] + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        most = new
    pixels = heads * DIM
    base = output + image * height * width * pixels + head * DIM
    store_pixels(base, result / sums[:, None], y, x, height, width, width * pixels, pixels, DIM, CHANNELS)
    at = total + image * height * width * heads + (y * width + x) * heads + head
    tl.store(at, (most + tl.log2(sums)) * 0.6931471805599453, mask=(y < height) & (x < width))


@triton.jit
def backward_query_kernel(
    gradient, query, key, value, row, column, output, total, d_query, means, shares,
    scale, height, width, heads,
    q_image, q_row, q_pixel, k_image, k_row, k_pixel, v_image, v_row, v_pixel,
    CONTENT: tl.constexpr, POSITION: tl.constexpr, ZERO: tl.constexpr, EXTENT: tl.constexpr, DIM: tl.constexpr,
    TALL: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, HALO: tl.constexpr, OFFSETS: tl.constexpr,
    CHANNELS: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """d_query, the means output . gradient for the other kernel, and this tile's share of d_row and d_column.

    shares: (images, tiles, heads, row and column, extent, DIM / 2), summed by the caller in that order.
    """
    PAD: tl.constexpr = EXTENT // 2
    HALF: tl.constexpr = DIM // 2
    image, head, y0, x0, i, j = program_tile(width, heads, TALL, WIDE)
    y, x = y0 + i, x0 + j
    q = load_pixels(query + image * q_image + head * DIM, y, x, height, width, q_row, q_pixel, DIM, CHANNELS, UPCAST)
    pixels = heads * DIM
    whole = image * height * width * pixels + head * DIM
    g = load_pixels(gradient + whole, y, x, height, width, width * pixels, pixels, DIM, CHANNELS, UPCAST)
    o = load_pixels(output + whole, y, x, height, width, width * pixels, pixels, DIM, CHANNELS, UPCAST)
    mean = tl.sum(o.to(tl.float32) * g.to(tl.float32), 1)
    at = image * height * width * heads + (y * width + x) * heads + head
    inside = (y < height) & (x < width)
    tl.store(means + at, mean, mask=inside)
    sums = tl.load(total + at, mask=inside, other=0.0) * 1.4426950408889634
    r, c = halo(ROWS, HALO)
    b = c[None, :] - j[:, None]
    offset = tl.arange(0, OFFSETS)[None, :]
    if POSITION:
        rows = load_embedding(row, head, EXTENT, 0, HALF, OFFSETS, CHANNELS, UPCAST)
        columns = load_embedding(column, head, EXTENT, HALF, HALF, OFFSETS, CHANNELS, UPCAST)
        by_row = tl.dot(q, tl.trans(rows), input_precision="ieee")
        by_column = tl.dot(q, tl.trans(columns), input_precision="ieee")
        across = tl.gather(by_column, tl.minimum(tl.maximum(b, 0), EXTENT - 1), 1)
        d_rows = tl.zeros([TALL * WIDE, OFFSETS], tl.float32)
        d_across = tl.zeros([TALL * WIDE, ROWS * HALO], tl.float32)
    key_x = x0 - PAD + c
    seen = (b >= 0) & (b < EXTENT)
    first, last = 0, TALL + EXTENT - 1
    if not ZERO:
        seen = seen & ((key_x >= 0) & (key_x < width))[None, :]
        first, last = tl.maximum(0, PAD - y0), tl.minimum(last, height + PAD - y0)
    result = tl.zeros([TALL * WIDE, CHANNELS], tl.float32)
    for h in range(first, last, ROWS):
        key_y = y0 - PAD + h + r
        a = (h + r)[None, :] - i[:, None]  # row offset of each key, by query
        logits = tl.zeros([TALL * WIDE, ROWS * HALO], tl.float32)
        if CONTENT:
            k = load_pixels(
                key + image * k_image + head * DIM, key_y, key_x, height, width, k_row, k_pixel, DIM, CHANNELS, UPCAST
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
            value + image * v_image + head * DIM, key_y, key_x, height, width, v_row, v_pixel, DIM, CHANNELS, UPCAST
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
        share = (image * tl.num_programs(0) + tl.program_id(0)) * 2 * EXTENT * HALF
        channel = tl.arange(0, CHANNELS)[None, :]
        a_of = tl.arange(0, OFFSETS)[:, None]
        to = shares + share + a_of * HALF + channel
        row_share = tl.dot(tl.trans(d_rows), q, input_precision="ieee") * natural
        tl.store(to, row_share, mask=(a_of < EXTENT) & (channel < HALF))
        column_share = tl.dot(tl.trans(d_columns), q, input_precision="ieee") * natural
        tl.store(to + (EXTENT - 1) * HALF, column_share, mask=(a_of < EXTENT) & (channel >= HALF) & (channel < DIM))
    store_pixels(d_query + whole, result * natural, y, x, height, width, width * pixels, pixels, DIM, CHANNELS)


@triton.jit
def backward_key_kernel(
    gradient, query, key, value, row, column, total, means, d_key, d_value,
    scale, height, width, heads,
    q_image, q_row, q_pixel, k_image, k_row, k_pixel, v_image, v_row, v_pixel,
    CONTENT: tl.constexpr, POSITION: tl.constexpr, ZERO: tl.constexpr, EXTENT: tl.constexpr, DIM: tl.constexpr,
    TALL: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, HALO: tl.constexpr, OFFSETS: tl.constexpr,
    CHANNELS: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """d_key and d_value of a tile of keys, walking over the rows of queries that see it. Matrices are (keys, queries)."""
    PAD: tl.constexpr = EXTENT // 2
    HALF: tl.constexpr = DIM // 2
    image, head, y0, x0, i, j = program_tile(width, heads, TALL, WIDE)
    y, x = y0 + i, x0 + j
    v = load_pixels(value + image * v_image + head * DIM, y, x, height, width, v_row, v_pixel, DIM, CHANNELS, UPCAST)
    if CONTENT:
        k = load_pixels(key + image * k_image + head * DIM, y, x, height, width, k_row, k_pixel, DIM, CHANNELS, UPCAST)
        d_keys = tl.zeros([TALL * WIDE, CHANNELS], tl.float32)
    if POSITION:
        rows = load_embedding(row, head, EXTENT, 0, HALF, OFFSETS, CHANNELS, UPCAST)
        columns = load_embedding(column, head, EXTENT, HALF, HALF, OFFSETS, CHANNELS, UPCAST)
    d_values = tl.zeros([TALL * WIDE, CHANNELS], tl.float32)
    r, c = halo(ROWS, HALO)
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
            query + image * q_image + head * DIM, query_y, query_x, height, width, q_row, q_pixel, DIM, CHANNELS, UPCAST
        )
        g = load_pixels(
            gradient + image * height * width * pixels + head * DIM,
            query_y, query_x, height, width, width * pixels, pixels, DIM, CHANNELS, UPCAST,
        )  # fmt: skip
        at = image * height * width * heads + (query_y * width + query_x) * heads + head
        sums = tl.load(total + at, mask=here, other=0.0) * 1.4426950408889634
        mean = tl.load(means + at, mask=here, other=0.0)
        a = i[:, None] + (EXTENT - 1 - h - r)[None, :]  # row offset of the key, by query
        logits = tl.zeros([TALL * WIDE, ROWS * HALO], tl.float32)
        if CONTENT:
            logits = tl.dot(k, tl.trans(q), input_precision="ieee")
        if POSITION:
            by_row = tl.dot(rows, tl.trans(q), input_precision="ieee")  # OFFSETS, queries
            by_column = tl.dot(columns, tl.trans(q), input_precision="ieee")
            a_of = tl.minimum(tl.maximum(a, 0), EXTENT - 1)
            b_of = tl.minimum(tl.maximum(b, 0), EXTENT - 1)
            logits += tl.gather(by_row, a_of, 0) + tl.gather(by_column, b_of, 0)
        taken = seen & (a >= 0) & (a < EXTENT)
        if ROWS > 1:
            taken = taken & here[None, :]
        weights = tl.exp2(tl.where(taken, logits * scale - sums[None, :], float("-inf")))
        d_values += tl.dot(weights.to(g.dtype), g, input_precision="ieee")
        if CONTENT:
            d_logits = weights * (tl.dot(v, tl.trans(g), input_precision="ieee") - mean[None, :])
            d_keys += tl.dot(d_logits.to(q.dtype), q, input_precision="ieee")
    whole = image * height * width * pixels + head * DIM
    store_pixels(d_value + whole, d_values, y, x, height, width, width * pixels, pixels, DIM, CHANNELS)
    if CONTENT:
        d_keys = d_keys * (scale * 0.6931471805599453)
        store_pixels(d_key + whole, d_keys, y, x, height, width, width * pixels, pixels, DIM, CHANNELS)
