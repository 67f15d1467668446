// Attention in the 4x4 blocks of a stem on the CPU, its maximum in each block and its mean and variance over all pixels:
// forward and backward, in float32.
//
// LANES blocks are worked on at once, one in each lane of a vector. A pixel has few channels, so logits are products of
// pixels with the small matrices of stem/arguments.py; logits, values and outputs of one head of a group of blocks stay in
// the first-level cache, and neither is written. The backward pass computes them again.
// Every sum has one order that depends on the shapes alone: results do not change with the number of threads.
#include "lanes.h"

namespace {

constexpr int SIDE = 4, PLACES = SIDE * SIDE, OFFSETS = 2 * SIDE - 1;
constexpr int64_t PIECE = 16;  // groups of blocks whose sums are added up in vectors, before they become numbers

struct Shape {
  int64_t batch, height, width;
  int in, side, before, window;  // window: side of what the values of a block are made of
  int64_t heads, channels, dim, depth;  // depth: channels of a head in whole blocks of registers
  int places, sources;
  int64_t down, right, blocks, groups, pieces;

  Shape(const Tensor& pixels, const Tensor& values, int64_t heads_, int64_t side_)
      : batch(pixels.size(0)), height(pixels.size(1)), width(pixels.size(2)), in(int(pixels.size(3))), side(int(side_)),
        before((side - 1) / 2), window(SIDE + side - 1), heads(heads_), channels(values.size(1)), dim(channels / heads),
        depth((dim + 3) / 4 * 4), places(int(values.size(0))), sources(int(values.size(2))),
        down((height + SIDE - 1) / SIDE), right((width + SIDE - 1) / SIDE), blocks(batch * down * right),
        groups((blocks + LANES - 1) / LANES), pieces((groups + PIECE - 1) / PIECE) {}

  int64_t content() const { return heads * in * in; }
  int64_t offsets() const { return heads * OFFSETS * in; }
  int64_t matrices() const { return heads * places * sources * depth; }
  int64_t total() const { return content() + 2 * offsets() + matrices(); }
};

// The folded matrices of all heads. Logits are in base 2, so theirs carry log2(e).
struct Matrices {
  std::vector<float> content, rows, columns;  // [head, in, in], [head, offset, in]
  std::vector<float> values;                  // [head, place, source, channel]

  Matrices(const Shape& s, const Tensor& content_, const Tensor& rows_, const Tensor& columns_, const Tensor& values_)
      : content(scaled(content_, s.content())), rows(scaled(rows_, s.offsets())), columns(scaled(columns_, s.offsets())),
        values(s.matrices()) {
    const float* from = (const float*)values_.data_ptr();  // place, channel, source
    for (int64_t head = 0; head < s.heads; head++)
      for (int64_t place = 0; place < s.places; place++)
        for (int64_t c = 0; c < s.dim; c++)
          for (int64_t source = 0; source < s.sources; source++)
            values[((head * s.places + place) * s.sources + source) * s.depth + c] =
                from[(place * s.channels + head * s.dim + c) * s.sources + source];
  }
  static std::vector<float> scaled(const Tensor& x, int64_t count) {
    const float* from = (const float*)x.data_ptr();
    std::vector<float> to(from, from + count);
    for (float& value : to) value *= LOG2E;
    return to;
  }
};

// A thread's memory for one head of one group of blocks.
struct Work {
  const Shape& s;
  const Matrices& m;
  Vec* next;
  Vec *pixels, *weights, *values;  // [y, x, in] of the window; [query, key]; [pixel, channel]
  Vec valid[PLACES], outside[PLACES];  // 1 or 0; 0 or -inf
  bool whole = true;               // all blocks of the group have 16 pixels, and all lanes a block
  int64_t group = 0;
  std::vector<int> source;  // where in the window a source is, from a pixel's first one

  Work(const Shape& shape, const Matrices& matrices, Vec* memory)
      : s(shape), m(matrices), next(memory), source(s.sources) {
    pixels = take(s.window * s.window * s.in), weights = take(PLACES * PLACES), values = take(PLACES * s.depth);
    for (int i = 0, at = 0; i < s.in; i++)
      for (int e = 0; e < s.side; e++)
        for (int f = 0; f < s.side; f++) source[at++] = (e * s.window + f) * s.in + i;
  }
  static int64_t vectors(const Shape& s) {
    return s.window * s.window * s.in + PLACES * PLACES + PLACES * s.depth;
  }
  Vec* take(int64_t count) {
    Vec* start = next;
    next += count;
    return start;
  }
  int64_t block(int lane) const { return std::min(group * LANES + lane, s.blocks - 1); }
  int lanes() const { return int(std::min<int64_t>(LANES, s.blocks - group * LANES)); }
  const Vec* first_source(int place) const { return pixels + (place / SIDE * s.window + place % SIDE) * s.in; }
  const Vec* pixel(int place) const { return first_source(place) + (s.before * s.window + s.before) * s.in; }

  // The windows of a group's blocks, and which of their pixels lie in the image.
  void load(int64_t group_, const float* data, int64_t image, int64_t row, int64_t column, int64_t channel) {
    group = group_;
    whole = lanes() == LANES;
    for (int lane = 0; lane < LANES; lane++) {
      int64_t n = block(lane), x0 = n % s.right * SIDE, y0 = n / s.right % s.down * SIDE;
      const float* from = data + n / s.right / s.down * image;
      for (int y = 0; y < s.window; y++)
        for (int x = 0; x < s.window; x++) {
          int64_t at_y = y0 + y - s.before, at_x = x0 + x - s.before;
          bool inside = at_y >= 0 && at_y < s.height && at_x >= 0 && at_x < s.width;
          Vec* to = pixels + (y * s.window + x) * s.in;
          for (int i = 0; i < s.in; i++) to[i][lane] = inside ? from[at_y * row + at_x * column + i * channel] : 0.f;
        }
      whole = whole && y0 + SIDE <= s.height && x0 + SIDE <= s.width;
    }
    if (whole) return;
    for (int lane = 0; lane < LANES; lane++) {
      int64_t n = block(lane), x0 = n % s.right * SIDE, y0 = n / s.right % s.down * SIDE;
      for (int place = 0; place < PLACES; place++) {
        bool inside = y0 + place / SIDE < s.height && x0 + place % SIDE < s.width;
        outside[place][lane] = inside ? 0.f : -INFINITY;
        valid[place][lane] = inside && lane < lanes();
      }
    }
  }

  // The weights of a head. IN: channels of a pixel, where they are known to the compiler, else 0.
  template <int IN>
  void attend(int64_t head) {
    const int in = IN ? IN : s.in;
    const float *content = &m.content[head * in * in], *rows = &m.rows[head * OFFSETS * in],
                *columns = &m.columns[head * OFFSETS * in];
    std::vector<Vec> spare(IN ? 0 : in);
    for (int i = 0; i < PLACES; i++) {
      const Vec* x = pixel(i);
      Vec few[IN ? IN : 1];
      Vec* t = IN ? few : spare.data();
      for (int b = 0; b < in; b++) {
        t[b] = Vec{};
        for (int a = 0; a < in; a++) t[b] += x[a] * content[a * in + b];
      }
      Vec line[SIDE], across[SIDE];
      for (int k = 0; k < SIDE; k++) {
        line[k] = across[k] = Vec{};
        for (int c = 0; c < in; c++) {
          line[k] += x[c] * rows[(k - i / SIDE + SIDE - 1) * in + c];
          across[k] += x[c] * columns[(k - i % SIDE + SIDE - 1) * in + c];
        }
      }
      Vec logits[PLACES], most = all(-INFINITY);
#pragma GCC unroll 16
      for (int j = 0; j < PLACES; j++) {
        const Vec* y = pixel(j);
        Vec sum = line[j / SIDE] + across[j % SIDE];
        for (int c = 0; c < in; c++) sum += t[c] * y[c];
        if (!whole) sum += outside[j];
        logits[j] = sum;
        most = larger(most, sum);
      }
      Vec parts[SIDE] = {};
#pragma GCC unroll 16
      for (int j = 0; j < PLACES; j++) parts[j / SIDE] += logits[j] = exp2_of(logits[j] - most);
      Vec factor = 1.f / ((parts[0] + parts[1]) + (parts[2] + parts[3]));
#pragma GCC unroll 16
      for (int j = 0; j < PLACES; j++) weights[i * PLACES + j] = logits[j] * factor;
    }
  }

  // The values of a head: a matrix for each place (PLACED), or one, times each pixel's sources.
  template <bool PLACED>
  void value(int64_t head) {
    const float* matrix = &m.values[head * s.places * s.sources * s.depth];
    for (int j = 0; j < PLACES; j += TILE)
      for (int64_t c = 0; c < s.depth; c += BLOCK) {
        Vec sum[TILE][BLOCK] = {};
        for (int source_ = 0; source_ < s.sources; source_++) {
          const Vec* z = first_source(j) + source[source_];
#pragma GCC unroll 8
          for (int t = 0; t < TILE; t++) {
            const float* to = matrix + ((PLACED ? j + t : 0) * int64_t(s.sources) + source_) * s.depth + c;
#pragma GCC unroll 8
            for (int i = 0; i < BLOCK; i++) sum[t][i] += z[t * s.in] * to[i];
          }
        }
        for (int t = 0; t < TILE; t++)
          for (int i = 0; i < BLOCK; i++) values[(j + t) * s.depth + c + i] = sum[t][i];
      }
  }

  void prepare(int64_t head) {
    s.in == 3 ? attend<3>(head) : s.in == 1 ? attend<1>(head) : attend<0>(head);
    s.places > 1 ? value<true>(head) : value<false>(head);
  }

  // The output at TILE queries and BLOCK channels.
  INLINE void output(int i, int64_t c, Vec y[TILE][BLOCK]) const {
    Vec sum[TILE][BLOCK] = {};
    for (int j = 0; j < PLACES; j++)
#pragma GCC unroll 8
      for (int t = 0; t < TILE; t++)
#pragma GCC unroll 8
        for (int k = 0; k < BLOCK; k++) sum[t][k] += weights[(i + t) * PLACES + j] * values[j * s.depth + c + k];
#pragma GCC unroll 8
    for (int t = 0; t < TILE; t++)
#pragma GCC unroll 8
      for (int k = 0; k < BLOCK; k++) y[t][k] = sum[t][k];
  }
};

// Count, mean and sum of squared deviations of some numbers.
struct Moments {
  double count = 0, mean = 0, squares = 0;

  void add(const Moments& other) {
    if (other.count == 0) return;
    double total = count + other.count, apart = other.mean - mean;
    squares += other.squares + apart * apart * count * other.count / total;
    mean += apart * other.count / total;
    count = total;
  }
};

// Sums of one piece's outputs, less the first of them in each lane, so that a large mean costs no digits.
struct Sums {
  std::vector<Vec> base, sum, squares;
  Vec count = {};
  bool fresh = true;

  explicit Sums(int64_t channels) : base(channels), sum(channels), squares(channels) {}

  Moments moments(int64_t channel) const {
    Moments all;
    for (int lane = 0; lane < LANES; lane++) {
      double n = count[lane], part = sum[channel][lane];
      if (n > 0) all.add({n, base[channel][lane] + part / n, squares[channel][lane] - part * part / n});
    }
    return all;
  }
};

void forward_head(Work& work, Sums& sums, int64_t head, float* largest, uint8_t* place) {
  const Shape& s = work.s;
  work.prepare(head);
  for (int64_t c = 0; c < s.depth; c += BLOCK) {
    Vec best[BLOCK];
    Int where[BLOCK] = {};
    Vec *base = &sums.base[head * s.depth + c], *sum = &sums.sum[head * s.depth + c],
        *squares = &sums.squares[head * s.depth + c];
    for (int k = 0; k < BLOCK; k++) best[k] = all(-INFINITY);
    for (int i = 0; i < PLACES; i += TILE) {
      Vec y[TILE][BLOCK];
      work.output(i, c, y);
      if (sums.fresh && i == 0)
        for (int k = 0; k < BLOCK; k++) base[k] = y[0][k];
#pragma GCC unroll 8
      for (int t = 0; t < TILE; t++)
#pragma GCC unroll 8
        for (int k = 0; k < BLOCK; k++) {
          Vec value = y[t][k], apart = value - base[k];
          if (!work.whole) apart *= work.valid[i + t], value += work.outside[i + t];
          Int better = (value > best[k]) | (value != value);  // no number is larger than NaN: it stays
          best[k] = better ? value : best[k];
          where[k] = better ? Int{} + (i + t) : where[k];
          sum[k] += apart, squares[k] += apart * apart;
        }
    }
    for (int lane = 0; lane < work.lanes(); lane++)
      for (int64_t k = 0; k < BLOCK && c + k < s.dim; k++) {
        int64_t at = work.block(lane) * s.channels + head * s.dim + c + k;
        largest[at] = best[k][lane], place[at] = uint8_t(where[k][lane]);
      }
  }
}

// Runs body(piece) over all pieces; threads take the next when they are free.
template <class Body>
void for_pieces(const Shape& s, const Body& body) {
  std::atomic<int64_t> next{0};
  torch::stable::parallel_for(0, torch::stable::get_num_threads(), 1, [&](int64_t, int64_t) {
    for (int64_t piece; (piece = next++) < s.pieces;) body(piece);
  });
}

void forward(const Tensor pixels, const Tensor content, const Tensor rows, const Tensor columns, const Tensor values,
             int64_t heads, int64_t side, Tensor largest, Tensor place, Tensor mean, Tensor variance) {
  Shape s(pixels, values, heads, side);
  Matrices matrices(s, content, rows, columns, values);
  std::vector<Moments> moments(s.pieces * s.channels);
  for_pieces(s, [&](int64_t piece) {
    Work work(s, matrices, scratch(Work::vectors(s)));
    Sums sums(s.heads * s.depth);
    for (int64_t group = piece * PIECE; group < std::min((piece + 1) * PIECE, s.groups); group++) {
      work.load(group, (const float*)pixels.data_ptr(), pixels.stride(0), pixels.stride(1), pixels.stride(2),
                pixels.stride(3));
      for (int64_t head = 0; head < heads; head++)
        forward_head(work, sums, head, (float*)largest.data_ptr(), (uint8_t*)place.data_ptr());
      if (work.whole)
        sums.count += float(PLACES);
      else
        for (int i = 0; i < PLACES; i++) sums.count += work.valid[i];
      sums.fresh = false;
    }
    for (int64_t c = 0; c < s.channels; c++)
      moments[piece * s.channels + c] = sums.moments(c / s.dim * s.depth + c % s.dim);
  });
  for (int64_t c = 0; c < s.channels; c++) {
    Moments all;
    for (int64_t piece = 0; piece < s.pieces; piece++) all.add(moments[piece * s.channels + c]);
    ((float*)mean.data_ptr())[c] = float(all.mean);
    ((float*)variance.data_ptr())[c] = float(all.squares / all.count);
  }
}

// What flows back to the outputs: to the largest of each block its own, and to every y: constant + slope * y.
struct Gradient {
  const float *largest, *constant, *slope;
  const uint8_t* place;
};

// A head's share of the gradients: sums[content, rows, columns, values], each a vector.
struct Totals {
  Vec *content, *rows, *columns, *values;

  Totals(const Shape& s, Vec* at) {
    content = at, rows = content + s.content(), columns = rows + s.offsets(), values = columns + s.offsets();
  }
};

// The gradient of the outputs into g [query, channel].
void outputs_backward(const Work& work, int64_t head, const Gradient& gradient, Vec* g) {
  const Shape& s = work.s;
  for (int64_t c = 0; c < s.depth; c += BLOCK) {
    Vec d_largest[BLOCK] = {}, constant[BLOCK] = {}, slope[BLOCK] = {};
    Int where[BLOCK] = {};
    for (int64_t k = 0; k < BLOCK && c + k < s.dim; k++) {
      int64_t channel = head * s.dim + c + k;
      constant[k] = all(gradient.constant[channel]), slope[k] = all(gradient.slope[channel]);
      for (int lane = 0; lane < LANES; lane++) {
        int64_t at = work.block(lane) * s.channels + channel;
        d_largest[k][lane] = gradient.largest[at], where[k][lane] = gradient.place[at];
      }
    }
    for (int i = 0; i < PLACES; i += TILE) {
      Vec y[TILE][BLOCK];
      work.output(i, c, y);
#pragma GCC unroll 8
      for (int t = 0; t < TILE; t++)
#pragma GCC unroll 8
        for (int k = 0; k < BLOCK; k++) {
          Vec d = constant[k] + slope[k] * y[t][k] + (where[k] == i + t ? d_largest[k] : Vec{});
          if (!work.whole) d *= work.valid[i + t];
          g[(i + t) * s.depth + c + k] = d;
        }
    }
  }
}

// The gradient of the logits of TILE queries, from that of their outputs, into d [query, key].
INLINE void logits_backward(const Work& work, int i, const Vec* g, Vec* d) {
  const Shape& s = work.s;
  for (int j = 0; j < PLACES; j += BLOCK) {
    Vec sum[TILE][BLOCK] = {};
    for (int64_t c = 0; c < s.depth; c++)
#pragma GCC unroll 8
      for (int t = 0; t < TILE; t++)
#pragma GCC unroll 8
        for (int k = 0; k < BLOCK; k++)
          sum[t][k] += g[(i + t) * s.depth + c] * work.values[(j + k) * s.depth + c];
    for (int t = 0; t < TILE; t++)
      for (int k = 0; k < BLOCK; k++) d[t * PLACES + j + k] = sum[t][k];
  }
  for (int t = 0; t < TILE; t++) {
    const Vec* w = work.weights + (i + t) * PLACES;
    Vec *row = d + t * PLACES, mean = {}, rest = {};
    for (int j = 0; j < PLACES; j++) mean += w[j] * row[j];
    for (int j = 0; j < PLACES; j++) row[j] -= mean, rest += w[j] * row[j];  // rest: for weights do not sum to 1 exactly
    for (int j = 0; j < PLACES; j++) row[j] = w[j] * (row[j] - rest);
  }
}

// Adds the share of one query's logits to the gradients of the matrices that make them.
template <int IN>
INLINE void content_backward(const Work& work, int64_t head, int i, const Vec* d, const Totals& totals) {
  const int in = IN ? IN : work.s.in;
  const Vec* x = work.pixel(i);
  Vec line[SIDE] = {}, across[SIDE] = {};
  for (int j = 0; j < PLACES; j++) line[j / SIDE] += d[j], across[j % SIDE] += d[j];
  for (int b = 0; b < in; b++) {
    Vec seen = {};
    for (int j = 0; j < PLACES; j++) seen += d[j] * work.pixel(j)[b];
    for (int a = 0; a < in; a++) totals.content[(head * in + a) * in + b] += x[a] * seen;
  }
  Vec* rows = totals.rows + (head * OFFSETS + SIDE - 1 - i / SIDE) * in;
  Vec* columns = totals.columns + (head * OFFSETS + SIDE - 1 - i % SIDE) * in;
  for (int k = 0; k < SIDE; k++)
    for (int c = 0; c < in; c++) rows[k * in + c] += line[k] * x[c], columns[k * in + c] += across[k] * x[c];
}

// The gradient of the values, into the place of the values themselves.
void values_backward(const Work& work, const Vec* g) {
  const Shape& s = work.s;
  for (int j = 0; j < PLACES; j += TILE)
    for (int64_t c = 0; c < s.depth; c += BLOCK) {
      Vec sum[TILE][BLOCK] = {};
      for (int i = 0; i < PLACES; i++)
#pragma GCC unroll 8
        for (int t = 0; t < TILE; t++)
#pragma GCC unroll 8
          for (int k = 0; k < BLOCK; k++) sum[t][k] += work.weights[i * PLACES + j + t] * g[i * s.depth + c + k];
      for (int t = 0; t < TILE; t++)
        for (int k = 0; k < BLOCK; k++) work.values[(j + t) * s.depth + c + k] = sum[t][k];
    }
}

// Adds the share of the values' gradients to those of their matrices.
void matrices_backward(const Work& work, int64_t head, const Totals& totals) {
  const Shape& s = work.s;
  Vec* to = totals.values + head * s.places * s.sources * s.depth;
  if (s.places > 1) {
    for (int j = 0; j < PLACES; j++)
      for (int source = 0; source < s.sources; source++) {
        Vec z = work.first_source(j)[work.source[source]];
        for (int64_t c = 0; c < s.depth; c++, to++) *to += work.values[j * s.depth + c] * z;
      }
    return;
  }
  for (int source = 0; source < s.sources; source += TILE)
    for (int64_t c = 0; c < s.depth; c += BLOCK) {
      Vec sum[TILE][BLOCK] = {};
      int at[TILE], count = std::min(TILE, s.sources - source);
      for (int t = 0; t < TILE; t++) at[t] = work.source[source + std::min(t, count - 1)];
      for (int j = 0; j < PLACES; j++) {
        const Vec *z = work.first_source(j), *d = work.values + j * s.depth + c;
#pragma GCC unroll 8
        for (int t = 0; t < TILE; t++)
#pragma GCC unroll 8
          for (int k = 0; k < BLOCK; k++) sum[t][k] += z[at[t]] * d[k];
      }
      for (int t = 0; t < count; t++)
        for (int k = 0; k < BLOCK; k++) to[(source + t) * s.depth + c + k] += sum[t][k];
    }
}

void backward_head(Work& work, int64_t head, const Gradient& gradient, Vec* g, Vec* d, const Totals& totals) {
  work.prepare(head);
  outputs_backward(work, head, gradient, g);
  for (int i = 0; i < PLACES; i += TILE) {
    logits_backward(work, i, g, d);
    for (int t = 0; t < TILE; t++)
      work.s.in == 3 ? content_backward<3>(work, head, i + t, d + t * PLACES, totals)
                     : content_backward<0>(work, head, i + t, d + t * PLACES, totals);
  }
  values_backward(work, g);
  matrices_backward(work, head, totals);
}

void backward(const Tensor pixels, const Tensor content, const Tensor rows, const Tensor columns, const Tensor values,
              int64_t heads, int64_t side, const Tensor largest, const Tensor place, const Tensor constant,
              const Tensor slope, Tensor d_content, Tensor d_rows, Tensor d_columns, Tensor d_values) {
  Shape s(pixels, values, heads, side);
  Matrices matrices(s, content, rows, columns, values);
  Gradient gradient{(const float*)largest.data_ptr(), (const float*)constant.data_ptr(),
                    (const float*)slope.data_ptr(), (const uint8_t*)place.data_ptr()};
  std::vector<float> shares(s.pieces * s.total());
  for_pieces(s, [&](int64_t piece) {
    Vec* memory = scratch(Work::vectors(s) + PLACES * s.depth + TILE * PLACES + s.total());
    Work work(s, matrices, memory);
    Vec *g = work.take(PLACES * s.depth), *d = work.take(TILE * PLACES), *sums = work.take(s.total());
    std::fill(sums, sums + s.total(), Vec{});
    for (int64_t group = piece * PIECE; group < std::min((piece + 1) * PIECE, s.groups); group++) {
      work.load(group, (const float*)pixels.data_ptr(), pixels.stride(0), pixels.stride(1), pixels.stride(2),
                pixels.stride(3));
      for (int64_t head = 0; head < heads; head++) backward_head(work, head, gradient, g, d, Totals(s, sums));
    }
    for (int64_t i = 0; i < s.total(); i++) {
      float sum = 0;
      for (int lane = 0; lane < LANES; lane++) sum += sums[i][lane];
      shares[piece * s.total() + i] = sum;
    }
  });
  std::vector<float> sums(s.total());
  torch::stable::parallel_for(0, s.total(), 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      double sum = 0;
      for (int64_t piece = 0; piece < s.pieces; piece++) sum += shares[piece * s.total() + i];
      sums[i] = float(sum);
    }
  });
  const float* from = sums.data();
  std::copy_n(from, s.content(), (float*)d_content.data_ptr()), from += s.content();
  std::copy_n(from, s.offsets(), (float*)d_rows.data_ptr()), from += s.offsets();
  std::copy_n(from, s.offsets(), (float*)d_columns.data_ptr()), from += s.offsets();
  float* to = (float*)d_values.data_ptr();  // place, channel, source
  for (int64_t head = 0; head < s.heads; head++)
    for (int64_t place_ = 0; place_ < s.places; place_++)
      for (int64_t source = 0; source < s.sources; source++)
        for (int64_t c = 0; c < s.dim; c++)
          to[(place_ * s.channels + head * s.dim + c) * s.sources + source] =
              from[((head * s.places + place_) * s.sources + source) * s.depth + c];
}

}  // namespace

STABLE_TORCH_LIBRARY(sasa_stem, m) {
  m.def(
      "forward(Tensor pixels, Tensor content, Tensor rows, Tensor columns, Tensor values, int heads, int side, "
      "Tensor(a!) largest, Tensor(b!) place, Tensor(c!) mean, Tensor(d!) variance) -> ()");
  m.def(
      "backward(Tensor pixels, Tensor content, Tensor rows, Tensor columns, Tensor values, int heads, int side, "
      "Tensor largest, Tensor place, Tensor constant, Tensor slope, Tensor(a!) d_content, Tensor(b!) d_rows, "
      "Tensor(c!) d_columns, Tensor(d!) d_values) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(sasa_stem, CPU, m) {
  m.impl("forward", TORCH_BOX(&forward));
  m.impl("backward", TORCH_BOX(&backward));
}
