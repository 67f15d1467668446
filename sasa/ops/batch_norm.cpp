// Batch norm of a map with adjacent channels, a shortcut's sum and ReLU on the CPU: forward and backward, float32 and
// bfloat16 with sums in float32 and float64.
//
// The map is a matrix of pixels x channels, and each channel one of many columns that are worked on side by side. Pixels come
// in pieces that fit a core's cache: a piece's sums are added up in float32, those of the pieces in their order in float64, so
// results do not change with the number of threads. A second walk begins where the first ended, with what the cache still has.
#include "lanes.h"

namespace {

constexpr int64_t PIECE = 128 << 10, FEWEST = 32;  // bytes of a piece; its pixels at least
constexpr int STEP = 8;                            // pixels whose terms are added before they meet a column's sum

struct Shape {
  int64_t pixels, channels, rows, pieces;

  Shape(const Tensor& x, int64_t bytes)
      : pixels(x.size(0) * x.size(2) * x.size(3)), channels(x.size(1)),
        rows(std::max(FEWEST, PIECE / (bytes * channels) / STEP * STEP)), pieces((pixels + rows - 1) / rows) {}

  int64_t first(int64_t piece) const { return piece * rows; }
  int64_t last(int64_t piece) const { return std::min(pixels, (piece + 1) * rows); }
};

// Runs body(piece) over all pieces, or from the last one back.
template <class Body>
void for_pieces(const Shape& s, bool back, const Body& body) {
  torch::stable::parallel_for(0, s.pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) body(back ? begin + end - 1 - i : i);
  });
}

// Calls add(pixel, count, c) for `count` pixels in a row, STEP of them or one, and each channel.
template <class Add>
INLINE void walk(int64_t first, int64_t last, int64_t channels, const Add& add) {
  int64_t i = first;
  for (; i + STEP <= last; i += STEP)
#pragma GCC ivdep
    for (int64_t c = 0; c < channels; c++) add(i, std::integral_constant<int, STEP>(), c);
  for (; i < last; i++)
#pragma GCC ivdep
    for (int64_t c = 0; c < channels; c++) add(i, std::integral_constant<int, 1>(), c);
}

const float* floats(const Tensor& x) { return (const float*)x.data_ptr(); }

// Mean and variance of each channel: those of the pieces, joined.
template <typename T>
void statistics(const Shape& s, const T* x, double* mean, double* variance) {
  std::vector<float> means(s.pieces * s.channels), squares(s.pieces * s.channels);
  for_pieces(s, false, [&](int64_t piece) {
    float *m = &means[piece * s.channels], *square = &squares[piece * s.channels];
    int64_t first = s.first(piece), last = s.last(piece), channels = s.channels;
    walk(first, last, channels, [=](int64_t i, auto count, int64_t c) __attribute__((always_inline)) {
      float sum = 0.f;
#pragma GCC unroll 8
      for (int j = 0; j < count; j++) sum += load(x + (i + j) * channels + c);
      m[c] += sum;
    });
    float share = 1.f / float(last - first);
    for (int64_t c = 0; c < channels; c++) m[c] *= share;
    walk(first, last, channels, [=](int64_t i, auto count, int64_t c) __attribute__((always_inline)) {
      float sum = 0.f, middle = m[c];
#pragma GCC unroll 8
      for (int j = 0; j < count; j++) {
        float d = load(x + (i + j) * channels + c) - middle;
        sum += d * d;
      }
      square[c] += sum;
    });
  });
  for (int64_t piece = 0; piece < s.pieces; piece++)
    for (int64_t c = 0; c < s.channels; c++)
      mean[c] += double(s.last(piece) - s.first(piece)) * means[piece * s.channels + c];
  for (int64_t c = 0; c < s.channels; c++) mean[c] /= double(s.pixels);
  for (int64_t piece = 0; piece < s.pieces; piece++)
    for (int64_t c = 0; c < s.channels; c++) {
      double d = means[piece * s.channels + c] - mean[c];
      variance[c] += squares[piece * s.channels + c] + double(s.last(piece) - s.first(piece)) * d * d;
    }
  for (int64_t c = 0; c < s.channels; c++) variance[c] /= double(s.pixels);
}

using Given = std::optional<Tensor>;

template <typename T>
void forward_of(const Tensor& x, const Tensor& weight, const Tensor& bias, const Given& shortcut,
                const Given& running_mean, const Given& running_variance, bool batch, double momentum, double eps,
                bool relu, const Tensor& mean_, const Tensor& inverse_, const Tensor& y) {
  Shape s(x, sizeof(T));
  const T* from = (const T*)x.data_ptr();
  float *mean = (float*)mean_.data_ptr(), *inverse = (float*)inverse_.data_ptr();
  float* running[2] = {running_mean ? (float*)running_mean->data_ptr() : nullptr,
                       running_variance ? (float*)running_variance->data_ptr() : nullptr};
  std::vector<double> means(s.channels), variances(s.channels);
  if (batch)
    statistics(s, from, means.data(), variances.data());
  else
    for (int64_t c = 0; c < s.channels; c++) means[c] = running[0][c], variances[c] = running[1][c];
  std::vector<float> factor(s.channels);
  for (int64_t c = 0; c < s.channels; c++) {
    mean[c] = float(means[c]);
    inverse[c] = float(1 / std::sqrt(variances[c] + eps));
    factor[c] = floats(weight)[c] * inverse[c];
    if (!batch || !running[0]) continue;
    double unbiased = variances[c] * (double(s.pixels) / double(std::max<int64_t>(1, s.pixels - 1)));
    running[0][c] = float((1 - momentum) * running[0][c] + momentum * means[c]);
    running[1][c] = float((1 - momentum) * running[1][c] + momentum * unbiased);
  }
  const T* added = shortcut ? (const T*)shortcut->data_ptr() : nullptr;
  T* to = (T*)y.data_ptr();
  for_pieces(s, true, [&, channels = s.channels](int64_t piece) {
    const float *__restrict m = mean, *__restrict f = factor.data(), *__restrict b = floats(bias);
    for (int64_t i = s.first(piece); i < s.last(piece); i++) {
      const T *__restrict in = from + i * channels, *__restrict plus = added + i * channels;
      T* __restrict out = to + i * channels;
      if (added)
        for (int64_t c = 0; c < channels; c++) {
          float v = (load(in + c) - m[c]) * f[c] + b[c] + load(plus + c);
          store(out + c, v < 0.f ? 0.f : v);
        }
      else if (relu)
        for (int64_t c = 0; c < channels; c++) {
          float v = (load(in + c) - m[c]) * f[c] + b[c];
          store(out + c, v < 0.f ? 0.f : v);
        }
      else
        for (int64_t c = 0; c < channels; c++) store(out + c, (load(in + c) - m[c]) * f[c] + b[c]);
    }
  });
}

void forward(const Tensor x, const Tensor weight, const Tensor bias, const Given shortcut, const Given running_mean,
             const Given running_variance, bool batch, double momentum, double eps, bool relu, Tensor mean,
             Tensor inverse, Tensor y) {
  auto run = x.scalar_type() == torch::headeronly::ScalarType::Float ? forward_of<float> : forward_of<bfloat16>;
  run(x, weight, bias, shortcut, running_mean, running_variance, batch, momentum, eps, relu, mean, inverse, y);
}

enum class Clipped { NEVER, BY_X, BY_Y };  // how the backward pass knows where ReLU let nothing through

template <typename T, Clipped CLIPPED>
void backward_of(const Shape& s, const T* gradient, const T* x, const T* y, const float* weight, const float* bias,
                 const float* mean, const float* inverse, bool batch, T* d_x, float* d_weight, float* d_bias,
                 T* d_shortcut) {
  int64_t channels = s.channels;
  std::vector<float> factors(channels), sums(s.pieces * channels), products(s.pieces * channels);
  for (int64_t c = 0; c < channels; c++) factors[c] = weight[c] * inverse[c];
  const float* factor = factors.data();
  for_pieces(s, false, [&](int64_t piece) {
    float *sum = &sums[piece * channels], *product = &products[piece * channels];
    if constexpr (CLIPPED == Clipped::BY_Y)
#pragma GCC ivdep
      for (int64_t at = s.first(piece) * channels; at < s.last(piece) * channels; at++) {
        float g = load(gradient + at);
        store(d_shortcut + at, load(y + at) <= 0.f ? 0.f : g);
      }
    walk(s.first(piece), s.last(piece), channels, [=](int64_t i, auto count, int64_t c) __attribute__((always_inline)) {
      float m = mean[c], f = factor[c], b = bias[c], of_g = 0.f, of_both = 0.f;
#pragma GCC unroll 8
      for (int j = 0; j < count; j++) {
        int64_t at = (i + j) * channels + c;
        float d = load(x + at) - m, g = load((CLIPPED == Clipped::BY_Y ? d_shortcut : gradient) + at);
        if constexpr (CLIPPED == Clipped::BY_X) g = d * f + b <= 0.f ? 0.f : g;
        of_g += g, of_both += g * d;
      }
      sum[c] += of_g, product[c] += of_both;
    });
  });
  std::vector<double> sum(channels), product(channels);
  for (int64_t piece = 0; piece < s.pieces; piece++)
    for (int64_t c = 0; c < channels; c++)
      sum[c] += sums[piece * channels + c], product[c] += products[piece * channels + c];
  std::vector<float> level(channels), slope(channels);
  for (int64_t c = 0; c < channels; c++) {
    d_bias[c] = float(sum[c]), d_weight[c] = float(product[c] * inverse[c]);
    if (!batch) continue;
    level[c] = float(sum[c] / double(s.pixels));
    slope[c] = float(product[c] / double(s.pixels) * inverse[c] * inverse[c]);
  }
  for_pieces(s, true, [&, less = level.data(), tilt = slope.data()](int64_t piece) {
    for (int64_t i = s.first(piece); i < s.last(piece); i++)
#pragma GCC ivdep
      for (int64_t c = 0; c < channels; c++) {
        int64_t at = i * channels + c;
        float d = load(x + at) - mean[c], g = load((CLIPPED == Clipped::BY_Y ? d_shortcut : gradient) + at);
        if constexpr (CLIPPED == Clipped::BY_X) g = d * factor[c] + bias[c] <= 0.f ? 0.f : g;
        store(d_x + at, factor[c] * (g - less[c] - d * tilt[c]));
      }
  });
}

template <typename T>
void backward_for(const Tensor& gradient, const Tensor& x, const Given& y, const Tensor& weight, const Tensor& bias,
                  const Tensor& mean, const Tensor& inverse, bool batch, bool relu, const Tensor& d_x,
                  const Tensor& d_weight, const Tensor& d_bias, const Given& d_shortcut) {
  auto run = y ? backward_of<T, Clipped::BY_Y> : relu ? backward_of<T, Clipped::BY_X> : backward_of<T, Clipped::NEVER>;
  run(Shape(x, sizeof(T)), (const T*)gradient.data_ptr(), (const T*)x.data_ptr(),
      y ? (const T*)y->data_ptr() : nullptr, floats(weight), floats(bias), floats(mean), floats(inverse), batch,
      (T*)d_x.data_ptr(), (float*)d_weight.data_ptr(), (float*)d_bias.data_ptr(),
      d_shortcut ? (T*)d_shortcut->data_ptr() : nullptr);
}

void backward(const Tensor gradient, const Tensor x, const Given y, const Tensor weight, const Tensor bias,
              const Tensor mean, const Tensor inverse, bool batch, bool relu, Tensor d_x, Tensor d_weight, Tensor d_bias,
              const Given d_shortcut) {
  auto run = x.scalar_type() == torch::headeronly::ScalarType::Float ? backward_for<float> : backward_for<bfloat16>;
  run(gradient, x, y, weight, bias, mean, inverse, batch, relu, d_x, d_weight, d_bias, d_shortcut);
}

}  // namespace

STABLE_TORCH_LIBRARY(sasa_batch_norm, m) {
  m.def(
      "forward(Tensor x, Tensor weight, Tensor bias, Tensor? shortcut, Tensor(a!)? running_mean, "
      "Tensor(b!)? running_variance, bool batch, float momentum, float eps, bool relu, Tensor(c!) mean, "
      "Tensor(d!) inverse, Tensor(e!) y) -> ()");
  m.def(
      "backward(Tensor gradient, Tensor x, Tensor? y, Tensor weight, Tensor bias, Tensor mean, Tensor inverse, "
      "bool batch, bool relu, Tensor(a!) d_x, Tensor(b!) d_weight, Tensor(c!) d_bias, Tensor(d!)? d_shortcut) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(sasa_batch_norm, CPU, m) {
  m.impl("forward", TORCH_BOX(&forward));
  m.impl("backward", TORCH_BOX(&backward));
}
