// Local attention on the CPU: forward and backward, float32 and bfloat16 with sums in float32.
//
// A problem is one head of one image. LANES problems are worked on at once, one in each lane of a vector, so that no sum
// runs across lanes, no lane is idle at a border and any head size or extent is a plain loop. Rows are transposed into
// this order (x, channel, lane) as they are needed and kept in a ring of `extent` rows, which stays in the cache.
// Every sum has one order that depends on the shapes alone: results do not change with the number of threads.
#include "lanes.h"

namespace {

#ifdef __AVX512F__
constexpr int WIDEST = 7;  // keys of a row whose logits are in registers at once
#else
constexpr int WIDEST = 3;
#endif

struct Shape {
  int64_t batch, height, width, heads, dim;
  int extent, pad, half;  // half: channels of a head that belong to the row offset (0 without positions)
  bool content, zero;     // q.k takes part; pixels outside the image have key = value = 0
  float scale;
  int64_t problems, groups;
  int64_t depth, step;  // channels padded to whole blocks; vectors from one pixel to the next (odd, to spread over the cache)
  int64_t tiles, wide;  // tiles of queries in a row; pixels of a row of keys with its borders

  Shape(const Tensor& query, int64_t heads_, int64_t extent_, bool content_, bool position, double scale_, bool zero_)
      : batch(query.size(0)), height(query.size(1)), width(query.size(2)), heads(heads_), dim(query.size(3) / heads_),
        extent(int(extent_)), pad(int(extent_ / 2)), half(position ? int(dim / 2) : 0), content(content_), zero(zero_),
        scale(float(scale_)), problems(batch * heads), groups((problems + LANES - 1) / LANES),
        depth((dim + 3) / 4 * 4), step(depth + 1), tiles((width + TILE - 1) / TILE), wide(tiles * TILE + 2 * pad) {}

  int used(int64_t group) const { return int(std::min<int64_t>(LANES, problems - group * LANES)); }
  int64_t embedding() const { return int64_t(extent) * half; }  // vectors of the rows' embedding, and of the columns'
};

// A map (B, H, W, C) in memory, channels adjacent.
template <typename T>
struct Map {
  T* data;
  int64_t image, row, pixel;

  Map(const Tensor& x)
      : data((T*)x.data_ptr()), image(x.stride(0)), row(x.stride(1)), pixel(x.stride(2)) {}

  // Where each lane's channels of pixel (y, 0) are; idle lanes of the last group repeat its last problem.
  void lanes(const Shape& s, int64_t channels, int64_t group, int64_t y, T* lane[LANES]) const {
    for (int i = 0; i < LANES; i++) {
      int64_t problem = std::min(group * LANES + i, s.problems - 1);
      lane[i] = data + problem / s.heads * image + y * row + problem % s.heads * channels;
    }
  }
};

// Row y of a group into vectors: packed[x * step + channel], times a factor.
template <typename T>
void pack(const Map<T>& map, const Shape& s, int64_t group, int64_t y, float factor, Vec* packed) {
  T* lane[LANES];
  map.lanes(s, s.dim, group, y, lane);
  for (int64_t x = 0; x < s.width; x++, packed += s.step) {
    int64_t channel = 0;
    for (int i = 0; i < LANES; i++)
      for (channel = 0; channel < s.dim; channel += 64 / int64_t(sizeof(T)))
        __builtin_prefetch(lane[i] + (x + 3) * map.pixel + channel);
    for (channel = 0; channel + 4 <= s.dim; channel += 4) {
      Vec four[4];
      load_lanes(lane, x * map.pixel + channel, four);
      for (int i = 0; i < 4; i++) packed[channel + i] = four[i] * factor;
    }
    for (; channel < s.depth; channel++)
      for (int i = 0; i < LANES; i++)
        packed[channel][i] = channel < s.dim ? load(lane[i] + x * map.pixel + channel) * factor : 0.f;
  }
}

template <typename T>
void unpack(const Vec* packed, float factor, const Map<T>& map, const Shape& s, int64_t group, int64_t y) {
  T* lane[LANES];
  map.lanes(s, s.dim, group, y, lane);
  int used = s.used(group);
  for (int64_t x = 0; x < s.width; x++, packed += s.step) {
    int64_t channel = 0;
    for (; channel + 4 <= s.dim; channel += 4) {
      Vec four[4];
      for (int i = 0; i < 4; i++) four[i] = packed[channel + i] * factor;
      if (used == LANES)
        store_lanes(lane, x * map.pixel + channel, LANES, four);
      else
        store_lanes(lane, x * map.pixel + channel, used, four);
    }
    for (; channel < s.dim; channel++)
      for (int i = 0; i < used; i++) store(lane[i] + x * map.pixel + channel, packed[channel][i] * factor);
  }
}

// The embeddings (heads, extent, half) of rows and of columns, in vectors [offset * half + channel].
template <typename T>
void pack_embedding(const Tensor& embedding, const Shape& s, int64_t group, Vec* packed) {
  const T* data = (const T*)embedding.data_ptr();
  for (int64_t i = 0; i < s.embedding(); i++)
    for (int lane = 0; lane < LANES; lane++)
      packed[i][lane] = load(data + (group * LANES + lane) % s.heads * s.embedding() + i);
}

// Logits of TILE queries with one row of keys, COUNT columns of them: scores[t * square + b] = q_t . k_(t + b), plus the
// terms of the row's and the column's embedding where they are given.
template <int COUNT>
INLINE void products(const Vec* q, const Vec* k, int64_t step, int64_t depth, int extent, const Vec* by_row,
                     const Vec* by_column, Vec* scores) {
  int64_t square = int64_t(extent) * extent;
  Vec sum[TILE][COUNT];
#pragma GCC unroll 16
  for (int t = 0; t < TILE; t++)
#pragma GCC unroll 16
    for (int b = 0; b < COUNT; b++)
      sum[t][b] = by_row ? by_row[t * extent] + by_column[t * extent + b] : Vec{};
  for (int64_t c = 0; c < depth; c++) {
#pragma GCC unroll 16
    for (int j = 0; j < TILE + COUNT - 1; j++) {
      Vec key = k[j * step + c];
#pragma GCC unroll 16
      for (int t = 0; t < TILE; t++)
        if (j - t >= 0 && j - t < COUNT) sum[t][j - t] += q[t * step + c] * key;
    }
  }
#pragma GCC unroll 16
  for (int t = 0; t < TILE; t++)
#pragma GCC unroll 16
    for (int b = 0; b < COUNT; b++) scores[t * square + b] = sum[t][b];
}

void products_row(const Vec* q, const Vec* k, int64_t step, int64_t depth, int extent, const Vec* by_row,
                  const Vec* by_column, Vec* scores) {
  for (int b = 0; b < extent;) {
    int count = std::min(extent - b, WIDEST);
    const Vec* columns = by_column ? by_column + b : nullptr;
    switch (count) {
#ifdef __AVX512F__
      case 7: products<7>(q, k + b * step, step, depth, extent, by_row, columns, scores + b); break;
      case 6: products<6>(q, k + b * step, step, depth, extent, by_row, columns, scores + b); break;
      case 5: products<5>(q, k + b * step, step, depth, extent, by_row, columns, scores + b); break;
      case 4: products<4>(q, k + b * step, step, depth, extent, by_row, columns, scores + b); break;
#endif
      case 3: products<3>(q, k + b * step, step, depth, extent, by_row, columns, scores + b); break;
      case 2: products<2>(q, k + b * step, step, depth, extent, by_row, columns, scores + b); break;
      default: products<1>(q, k + b * step, step, depth, extent, by_row, columns, scores + b);
    }
    b += count;
  }
}

// Calls step(j, first, last) for each key j of a tile's row of keys, which queries first <= t < last see. The ends of the
// row are unrolled, so that `step` has constant bounds.
template <class Step>
INLINE void each_key(int extent, const Step& step) {
  if (extent < TILE) {
    for (int j = 0; j < extent + TILE - 1; j++) step(j, std::max(0, j - extent + 1), std::min(TILE, j + 1));
    return;
  }
#pragma GCC unroll 8
  for (int j = 0; j < TILE - 1; j++) step(j, 0, j + 1);
  for (int j = TILE - 1; j < extent; j++) step(j, 0, TILE);
#pragma GCC unroll 8
  for (int i = 1; i < TILE; i++) step(extent + i - 1, i, TILE);
}

// sums[t * step + c] = factor_t * sum over a, b of weights[t, a, b] * rows[a][at + (t + b) * step + c], first <= a < last.
INLINE void weighted(const Vec* weights, Vec* const* rows, int64_t at, int first, int last, int extent, int64_t step,
                     int64_t depth, const Vec* factor, Vec* sums) {
  int64_t square = int64_t(extent) * extent;
  for (int64_t c = 0; c < depth; c += BLOCK) {
    Vec sum[TILE][BLOCK] = {};
    for (int a = first; a < last; a++) {
      const Vec* v = rows[a] + at + c;
      const Vec* w = weights + a * extent;
      each_key(extent, [&](int j, int from, int to) __attribute__((always_inline)) {
#pragma GCC unroll 8
        for (int t = 0; t < TILE; t++)
          if (t >= from && t < to)
#pragma GCC unroll 8
            for (int i = 0; i < BLOCK; i++) sum[t][i] += w[t * square + j - t] * v[j * step + i];
      });
    }
#pragma GCC unroll 8
    for (int t = 0; t < TILE; t++)
#pragma GCC unroll 8
      for (int i = 0; i < BLOCK; i++) sums[t * step + c + i] = sum[t][i] * factor[t];
  }
}

// The transpose, for one row of keys: sums[j * step + c] += sum over t of weights[t, j - t] * g[t * step + c].
INLINE void scatter(const Vec* w, const Vec* g, int extent, int64_t step, int64_t depth, Vec* sums) {
  int64_t square = int64_t(extent) * extent;
  for (int64_t c = 0; c < depth; c += BLOCK) {
    Vec rows[TILE][BLOCK];
#pragma GCC unroll 8
    for (int t = 0; t < TILE; t++)
#pragma GCC unroll 8
      for (int i = 0; i < BLOCK; i++) rows[t][i] = g[t * step + c + i];
    each_key(extent, [&](int j, int from, int to) __attribute__((always_inline)) {
      Vec* into = sums + j * step + c;
      Vec sum[BLOCK];
#pragma GCC unroll 8
      for (int i = 0; i < BLOCK; i++) sum[i] = into[i];
#pragma GCC unroll 8
      for (int t = 0; t < TILE; t++)
        if (t >= from && t < to)
#pragma GCC unroll 8
          for (int i = 0; i < BLOCK; i++) sum[i] += w[t * square + j - t] * rows[t][i];
#pragma GCC unroll 8
      for (int i = 0; i < BLOCK; i++) into[i] = sum[i];
    });
  }
}

// Rows of a map as vectors, with their borders: the `extent` rows around a row of queries, one slot each.
struct Ring {
  Vec* memory;
  int64_t row;  // vectors of a row
  int extent;

  Vec* operator[](int64_t y) const { return memory + (y + extent) % extent * row; }
};

// What the forward and the backward pass share: a group's scratch memory and its tiles' logits.
struct Work {
  const Shape& s;
  int64_t group, square;
  Vec* next;
  Vec *query, *row, *column, *by_row, *by_column;
  Ring key, value;
  int first = 0, last = 0;  // rows a of the neighbourhood that are looked at
  std::vector<Vec*> keys, values;

  static int64_t vectors(const Shape& s, int rings, int rows, int squares) {
    return rings * s.extent * s.wide * s.step + rows * s.tiles * TILE * s.step + 4 * s.embedding() +
           2 * TILE * s.extent + squares * TILE * s.extent * s.extent;
  }
  Vec* take(int64_t count) {
    Vec* start = next;
    next += count;
    return start;
  }
  Vec* take_row() {  // the vectors of a row of queries; those past the width stay zero
    Vec* start = take(s.tiles * TILE * s.step);
    std::fill(start, next, Vec{});
    return start;
  }
  Ring take_ring() {
    Ring ring{take(s.extent * s.wide * s.step), s.wide * s.step, s.extent};
    std::fill(ring.memory, next, Vec{});
    return ring;
  }

  Work(const Shape& shape, int64_t group_, Vec* memory)
      : s(shape), group(group_), square(int64_t(s.extent) * s.extent), next(memory), keys(s.extent), values(s.extent) {
    query = take_row();
    row = take(s.embedding()), column = take(s.embedding());
    by_row = take(TILE * s.extent), by_column = take(TILE * s.extent);
    if (s.content) key = take_ring();
    value = take_ring();
  }

  bool inside(int64_t y) const { return y >= 0 && y < s.height; }

  // Which rows the queries of row y look at, and where their vectors are.
  void look(int64_t y) {
    first = s.zero ? 0 : int(std::max<int64_t>(0, s.pad - y));
    last = s.zero ? s.extent : int(std::min<int64_t>(s.extent, s.height + s.pad - y));
    for (int a = 0; a < s.extent; a++) {
      keys[a] = s.content ? key[y + a - s.pad] : nullptr;
      values[a] = value[y + a - s.pad];
    }
  }

  template <typename T>
  void load_row(const Map<T>& map, const Ring& ring, int64_t y) {
    if (inside(y))
      pack(map, s, group, y, 1.f, ring[y] + s.pad * s.step);
    else
      std::fill(ring[y], ring[y] + ring.row, Vec{});
  }

  // Logits times log2(e) of the TILE queries from x on, [t, a, b]; -inf for keys outside.
  void logits(int64_t x, Vec* scores) {
    const Vec* q = query + x * s.step;
    if (s.half) positions(q);
    for (int a = first; a < last; a++) {
      if (s.content)
        products_row(q, keys[a] + x * s.step, s.step, s.depth, s.extent, s.half ? by_row + a : nullptr,
                     s.half ? by_column : nullptr, scores + a * s.extent);
      else
        for (int t = 0; t < TILE; t++)
          for (int b = 0; b < s.extent; b++)
            scores[t * square + a * s.extent + b] = by_row[t * s.extent + a] + by_column[t * s.extent + b];
    }
    if (s.zero || (x >= s.pad && x + TILE + s.pad <= s.width)) return;
    for (int t = 0; t < TILE; t++)
      for (int b = 0; b < s.extent; b++)
        if (x + t + b < s.pad || x + t + b >= s.width + s.pad)
          for (int a = first; a < last; a++) scores[t * square + a * s.extent + b] = all(-INFINITY);
  }

  // q . r of every row offset and of every column offset.
  void positions(const Vec* q) {
    for (int a = 0; a < s.extent; a++) {
      Vec rows[TILE] = {}, columns[TILE] = {};
      for (int c = 0; c < s.half; c++)
#pragma GCC unroll 8
        for (int t = 0; t < TILE; t++) {
          rows[t] += q[t * s.step + c] * row[a * s.half + c];
          columns[t] += q[t * s.step + s.half + c] * column[a * s.half + c];
        }
      for (int t = 0; t < TILE; t++) by_row[t * s.extent + a] = rows[t], by_column[t * s.extent + a] = columns[t];
    }
  }

  // The positions' share of the backward pass: adds to the gradients of TILE queries and of the embeddings.
  void positions_backward(const Vec* q, const Vec* d_scores, Vec* d_query, Vec* d_row, Vec* d_column) {
    for (int t = 0; t < TILE; t++) {
      Vec* columns = by_column + t * s.extent;
      std::fill(columns, columns + s.extent, Vec{});
      for (int a = 0; a < s.extent; a++) {
        Vec sum = {};
        if (a >= first && a < last)
          for (int b = 0; b < s.extent; b++) {
            Vec d = d_scores[t * square + a * s.extent + b];
            sum += d, columns[b] += d;
          }
        by_row[t * s.extent + a] = sum;
      }
    }
    for (int a = 0; a < s.extent; a++)
      for (int c = 0; c < s.half; c++) {
        Vec rows = d_row[a * s.half + c], columns = d_column[a * s.half + c];
#pragma GCC unroll 8
        for (int t = 0; t < TILE; t++) {
          const Vec* from = q + t * s.step + c;
          Vec* to = d_query + t * s.step + c;
          Vec by = by_row[t * s.extent + a], across = by_column[t * s.extent + a];
          rows += by * from[0], columns += across * from[s.half];
          to[0] += by * row[a * s.half + c], to[s.half] += across * column[a * s.half + c];
        }
        d_row[a * s.half + c] = rows, d_column[a * s.half + c] = columns;
      }
  }
};

// Row y of (B, H, W, heads) as vectors, one a pixel.
void pack_total(const Map<float>& map, const Shape& s, int64_t group, int64_t y, Vec* packed) {
  float* lane[LANES];
  map.lanes(s, 1, group, y, lane);
  for (int64_t x = 0; x < s.width; x++)
    for (int i = 0; i < LANES; i++) packed[x][i] = lane[i][x * map.pixel] * LOG2E;
}
void unpack_total(const Vec* packed, const Map<float>& map, const Shape& s, int64_t group, int64_t y) {
  float* lane[LANES];
  map.lanes(s, 1, group, y, lane);
  for (int64_t x = 0; x < s.width; x++)
    for (int i = 0; i < s.used(group); i++) lane[i][x * map.pixel] = packed[x][i] * LN2;
}

// Runs body(group, first row, last row) over all groups, cut into bands of rows when there are fewer groups than threads.
// Threads take the next piece when they are free; a piece's results do not depend on the cut.
template <class Body>
void for_bands(const Shape& s, const Body& body) {
  int64_t threads = torch::stable::get_num_threads();
  int64_t bands = s.groups % threads == 0 ? 1 : std::min<int64_t>((2 * threads + s.groups - 1) / s.groups, s.height);
  std::atomic<int64_t> next{0};
  torch::stable::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (int64_t i; (i = next++) < s.groups * bands;)
      body(i / bands, i % bands * s.height / bands, (i % bands + 1) * s.height / bands);
  });
}

template <typename T>
void forward_band(const Shape& s, const Map<T>& query, const Map<T>& key, const Map<T>& value, const Tensor* row,
                  const Tensor* column, const Map<T>& output, const Map<float>& total, int64_t group, int64_t from,
                  int64_t to) {
  Work work(s, group, scratch(Work::vectors(s, 2, 2, 1) + s.tiles * TILE));
  Vec* scores = work.take(TILE * work.square);
  Vec* sums = work.take_row();
  Vec* totals = work.take(s.tiles * TILE);
  if (s.half) pack_embedding<T>(*row, s, group, work.row), pack_embedding<T>(*column, s, group, work.column);
  for (int64_t y = from - s.pad; y < to + s.pad; y++) {  // y: the newest row of keys
    if (s.content) work.load_row(key, work.key, y);
    work.load_row(value, work.value, y);
    int64_t at = y - s.pad;
    if (at < from) continue;
    pack(query, s, group, at, s.scale * LOG2E, work.query);
    work.look(at);
    for (int64_t x = 0; x < s.tiles * TILE; x += TILE) {
      work.logits(x, scores);
      Vec factor[TILE];
      for (int t = 0; t < TILE; t++) {
        Vec* begin = scores + t * work.square + work.first * s.extent;
        Vec* end = scores + t * work.square + work.last * s.extent;
        Vec most = all(-INFINITY), sum = {};
        for (Vec* p = begin; p < end; p++) most = larger(most, *p);
        for (Vec* line = begin; line < end; line += s.extent) {  // line by line: roundings of k + k additions, not of k * k
          Vec part = {};
          for (Vec* p = line; p < line + s.extent; p++) part += *p = exp2_of(*p - most);
          sum += part;
        }
        factor[t] = 1.f / sum;
        totals[x + t] = most + log2_of(sum);
      }
      weighted(scores, work.values.data(), x * s.step, work.first, work.last, s.extent, s.step, s.depth, factor,
               sums + x * s.step);
    }
    unpack(sums, 1.f, output, s, group, at);
    unpack_total(totals, total, s, group, at);
  }
}

// The gradients of a band of rows: of its queries, keys and values, and its queries' share of row's and column's. Queries
// of the `pad` rows around the band are looked at again for their share of the band's keys and values.
template <typename T>
void backward_band(const Shape& s, const Map<T>& gradient, const Map<T>& query, const Map<T>& key, const Map<T>& value,
                   const Tensor* row, const Tensor* column, const Map<float>& total, const Map<T>& d_query,
                   const Map<T>& d_key, const Map<T>& d_value, Vec* shares, int64_t group, int64_t from, int64_t to) {
  Work work(s, group, scratch(Work::vectors(s, 4, 3, 2) + s.tiles * TILE));
  Vec* weights = work.take(TILE * work.square);
  Vec* d_scores = work.take(TILE * work.square);
  Vec *g = work.take_row(), *dq = work.take_row(), *totals = work.take(s.tiles * TILE);
  std::fill(totals, work.next, Vec{});
  Ring dk = {}, dv = work.take_ring();
  if (s.content) dk = work.take_ring();
  if (s.half) pack_embedding<T>(*row, s, group, work.row), pack_embedding<T>(*column, s, group, work.column);
  Vec ones[TILE];
  std::fill(ones, ones + TILE, all(1.f));
  for (int64_t y = from - 2 * s.pad; y < to + 2 * s.pad; y++) {  // y: the newest row of keys
    if (s.content) work.load_row(key, work.key, y), std::fill(dk[y], dk[y] + dk.row, Vec{});
    work.load_row(value, work.value, y), std::fill(dv[y], dv[y] + dv.row, Vec{});
    int64_t at = y - s.pad;
    if (at >= from - s.pad && work.inside(at)) {
      bool own = at >= from && at < to;
      pack(query, s, group, at, s.scale * LOG2E, work.query);
      pack(gradient, s, group, at, 1.f, g);
      pack_total(total, s, group, at, totals);
      work.look(at);
      int first = int(std::max<int64_t>(work.first, from + s.pad - at));
      int last = int(std::min<int64_t>(work.last, to + s.pad - at));
      Vec* d_row = shares + (group * s.height + at) * 2 * s.embedding();
      Vec* d_column = d_row + s.embedding();
      if (own) std::fill(d_row, d_column + s.embedding(), Vec{});
      for (int64_t x = 0; x < s.tiles * TILE; x += TILE) {
        int64_t offset = x * s.step;
        work.logits(x, weights);
        for (int a = work.first; a < work.last; a++)
          products_row(g + offset, work.values[a] + offset, s.step, s.depth, s.extent, nullptr, nullptr,
                       d_scores + a * s.extent);
        for (int t = 0; t < TILE; t++) {
          int64_t begin = t * work.square + work.first * s.extent, end = t * work.square + work.last * s.extent;
          Vec mean = {};  // of d_scores under the weights
          for (int64_t i = begin; i < end; i++) {
            weights[i] = exp2_of(weights[i] - totals[x + t]);
            mean += weights[i] * d_scores[i];
          }
          for (int64_t i = begin; i < end; i++) d_scores[i] = weights[i] * (d_scores[i] - mean);
        }
        for (int a = first; a < last; a++) {
          scatter(weights + a * s.extent, g + offset, s.extent, s.step, s.depth, dv[at + a - s.pad] + offset);
          if (s.content)
            scatter(d_scores + a * s.extent, work.query + offset, s.extent, s.step, s.depth,
                    dk[at + a - s.pad] + offset);
        }
        if (!own) continue;
        if (s.content)
          weighted(d_scores, work.keys.data(), offset, work.first, work.last, s.extent, s.step, s.depth, ones,
                   dq + offset);
        else
          std::fill(dq + offset, dq + offset + TILE * s.step, Vec{});
        if (s.half) work.positions_backward(work.query + offset, d_scores, dq + offset, d_row, d_column);
      }
      if (own) unpack(dq, s.scale, d_query, s, group, at);
    }
    int64_t done = at - s.pad;  // no later query sees this row of keys
    if (done < from || done >= to) continue;
    unpack(dv[done] + s.pad * s.step, 1.f, d_value, s, group, done);
    if (s.content) unpack(dk[done] + s.pad * s.step, LN2, d_key, s, group, done);  // query carries log2(e)
  }
}

// Sums the shares (group, row, [row embedding, column embedding], lane) in their order.
template <typename T>
void sum_shares(const Shape& s, Vec* shares, const Tensor& d_row, const Tensor& d_column) {
  int64_t size = 2 * s.embedding();
  torch::stable::parallel_for(0, s.groups, 1, [&](int64_t begin, int64_t end) {
    for (int64_t group = begin; group < end; group++)
      for (int64_t y = 1; y < s.height; y++)
        for (int64_t i = 0; i < size; i++) shares[group * s.height * size + i] += shares[(group * s.height + y) * size + i];
  });
  for (int part = 0; part < 2; part++) {
    std::vector<float> sum(s.heads * s.embedding());
    for (int64_t problem = 0; problem < s.problems; problem++) {
      const Vec* share = shares + problem / LANES * s.height * size + part * s.embedding();
      for (int64_t i = 0; i < s.embedding(); i++)
        sum[problem % s.heads * s.embedding() + i] += share[i][problem % LANES];
    }
    T* to = (T*)(part ? d_column : d_row).data_ptr();
    for (size_t i = 0; i < sum.size(); i++) store(to + i, sum[i] * LN2);
  }
}

using Given = std::optional<Tensor>;

const Tensor* given(const Given& x) { return x ? &*x : nullptr; }

template <typename T>
void forward_of(const Shape& s, const Tensor& query, const Given& key, const Tensor& value, const Given& row,
                const Given& column, const Tensor& output, const Tensor& total) {
  Map<T> q(query), k(key ? *key : query), v(value), out(output);
  Map<float> sums(total);
  for_bands(s, [&](int64_t group, int64_t from, int64_t to) {
    forward_band<T>(s, q, k, v, given(row), given(column), out, sums, group, from, to);
  });
}

void forward(const Tensor query, const Given key, const Tensor value, const Given row, const Given column,
             int64_t heads, int64_t extent, double scale, bool zero, Tensor output, Tensor total) {
  Shape s(query, heads, extent, bool(key), bool(row), scale, zero);
  if (query.scalar_type() == torch::headeronly::ScalarType::Float)
    forward_of<float>(s, query, key, value, row, column, output, total);
  else
    forward_of<bfloat16>(s, query, key, value, row, column, output, total);
}

template <typename T>
void backward_of(const Shape& s, const Tensor& gradient, const Tensor& query, const Given& key, const Tensor& value,
                 const Given& row, const Given& column, const Tensor& total, const Tensor& d_query, const Given& d_key,
                 const Tensor& d_value, const Given& d_row, const Given& d_column) {
  Map<T> g(gradient), q(query), k(key ? *key : query), v(value), dq(d_query), dk(d_key ? *d_key : d_query), dv(d_value);
  Map<float> sums(total);
  std::unique_ptr<Vec[]> shares(new Vec[s.groups * s.height * 2 * s.embedding()]);
  for_bands(s, [&](int64_t group, int64_t from, int64_t to) {
    backward_band<T>(s, g, q, k, v, given(row), given(column), sums, dq, dk, dv, shares.get(), group, from, to);
  });
  if (s.half) sum_shares<T>(s, shares.get(), *d_row, *d_column);
}

void backward(const Tensor gradient, const Tensor query, const Given key, const Tensor value, const Given row,
              const Given column, const Tensor total, int64_t heads, int64_t extent, double scale, bool zero,
              Tensor d_query, const Given d_key, Tensor d_value, const Given d_row, const Given d_column) {
  Shape s(query, heads, extent, bool(key), bool(row), scale, zero);
  if (query.scalar_type() == torch::headeronly::ScalarType::Float)
    backward_of<float>(s, gradient, query, key, value, row, column, total, d_query, d_key, d_value, d_row, d_column);
  else
    backward_of<bfloat16>(s, gradient, query, key, value, row, column, total, d_query, d_key, d_value, d_row, d_column);
}

}  // namespace

STABLE_TORCH_LIBRARY(sasa_cpu, m) {
  m.def(
      "forward(Tensor query, Tensor? key, Tensor value, Tensor? row, Tensor? column, int heads, int extent, "
      "float scale, bool zero, Tensor(a!) output, Tensor(b!) total) -> ()");
  m.def(
      "backward(Tensor gradient, Tensor query, Tensor? key, Tensor value, Tensor? row, Tensor? column, Tensor total, "
      "int heads, int extent, float scale, bool zero, Tensor(a!) d_query, Tensor(b!)? d_key, Tensor(c!) d_value, "
      "Tensor(d!)? d_row, Tensor(e!)? d_column) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(sasa_cpu, CPU, m) {
  m.impl("forward", TORCH_BOX(&forward));
  m.impl("backward", TORCH_BOX(&backward));
}
