// What the kernels share: vectors whose lanes are problems of their own, their functions, and the way into and out of them.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#define INLINE inline __attribute__((always_inline))

namespace {

using torch::stable::Tensor;

// Block sizes are what the registers hold: 32 of 16 floats with AVX-512, else 16 of 8.
#ifdef __AVX512F__
constexpr int LANES = 16, BLOCK = 4;
#else
constexpr int LANES = 8, BLOCK = 2;
#endif
constexpr int TILE = 4;  // queries that share what they load

typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef int32_t Int __attribute__((vector_size(LANES * 4)));
typedef float Four __attribute__((vector_size(16), aligned(4)));
typedef uint32_t Four32 __attribute__((vector_size(16)));
typedef uint16_t Four16 __attribute__((vector_size(8)));

constexpr float LOG2E = 1.44269504088896340736f, LN2 = 0.69314718055994530942f;

INLINE Vec all(float x) { return Vec{} + x; }
INLINE Vec larger(Vec a, Vec b) { return a > b ? a : b; }

// 2^x for x <= 0 or a little above (2 units in the last place); 0 below the smallest normal number.
INLINE Vec exp2_of(Vec x) {
  const Vec shift = all(12582912.f);  // 1.5 * 2^23: adding it rounds to the nearest integer
  Vec shifted = x + shift;
  Vec f = x - (shifted - shift);
  Vec y = all(1.535336188319500e-4f);
  y = y * f + 1.339887440266574e-3f;
  y = y * f + 9.618437357674640e-3f;
  y = y * f + 5.550332471162809e-2f;
  y = y * f + 2.402264791363012e-1f;
  y = y * f + 6.931472028550421e-1f;
  y = y * f + 1.f;
  Vec scaled = (Vec)((Int)y + ((Int)shifted << 23));
  return x < -126.f ? Vec{} : scaled;
}

// log2 of a positive normal number.
INLINE Vec log2_of(Vec x) {
  Int bits = (Int)x, exponent = (bits - 0x3f3504f3) >> 23;  // mantissa from sqrt(1/2) to sqrt(2)
  Vec m = (Vec)(bits - (exponent << 23));
  Vec s = (m - 1.f) / (m + 1.f), s2 = s * s;
  Vec y = s2 * (1.f / 9.f) + (1.f / 7.f);
  y = y * s2 + (1.f / 5.f);
  y = y * s2 + (1.f / 3.f);
  y = y * s2 + 1.f;
  return __builtin_convertvector(exponent, Vec) + s * y * (2.f * LOG2E);
}

struct bfloat16 {
  uint16_t bits;
};
INLINE float load(const float* p) { return *p; }
INLINE float load(const bfloat16* p) {
  uint32_t bits = uint32_t(p->bits) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
INLINE void store(float* p, float x) { *p = x; }
INLINE void store(bfloat16* p, float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  p->bits = x == x ? uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) : 0x7fc0;  // nearest, ties to even
}
INLINE Four load4(const float* p) { return *(const Four*)p; }
INLINE Four load4(const bfloat16* p) {
  Four16 bits;
  std::memcpy(&bits, p, 8);
  return (Four)(__builtin_convertvector(bits, Four32) << 16);
}
INLINE void store4(float* p, Four x) { *(Four*)p = x; }
INLINE void store4(bfloat16* p, Four x) {
  Four32 bits = (Four32)x;
  bits = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  Four16 rounded = __builtin_convertvector(x == x ? bits : Four32{} + 0x7fc0, Four16);
  std::memcpy(p, &rounded, 8);
}

// Four channels of every lane, lanes apart in memory, to four vectors of lanes, and back: a 4x4 transpose in each quarter.
#ifdef __AVX512F__
#define SHUFFLE(x, y, a, b, c, d)                                                                          \
  __builtin_shufflevector(x, y, a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, a + 12, \
                          b + 12, c + 12, d + 12)
#else
#define SHUFFLE(x, y, a, b, c, d) __builtin_shufflevector(x, y, a, b, c, d, a + 4, b + 4, c + 4, d + 4)
#endif
INLINE void transpose4(Vec x[4]) {
  constexpr int N = LANES;
  Vec low = SHUFFLE(x[0], x[1], 0, N, 1, N + 1), high = SHUFFLE(x[0], x[1], 2, N + 2, 3, N + 3);
  Vec low2 = SHUFFLE(x[2], x[3], 0, N, 1, N + 1), high2 = SHUFFLE(x[2], x[3], 2, N + 2, 3, N + 3);
  x[0] = SHUFFLE(low, low2, 0, 1, N, N + 1), x[1] = SHUFFLE(low, low2, 2, 3, N + 2, N + 3);
  x[2] = SHUFFLE(high, high2, 0, 1, N, N + 1), x[3] = SHUFFLE(high, high2, 2, 3, N + 2, N + 3);
}
template <typename T>
INLINE void load_lanes(const T* const lane[LANES], int64_t at, Vec x[4]) {
  for (int i = 0; i < 4; i++) {
    auto half = __builtin_shufflevector(load4(lane[i] + at), load4(lane[i + 4] + at), 0, 1, 2, 3, 4, 5, 6, 7);
#ifdef __AVX512F__
    auto rest = __builtin_shufflevector(load4(lane[i + 8] + at), load4(lane[i + 12] + at), 0, 1, 2, 3, 4, 5, 6, 7);
    x[i] = __builtin_shufflevector(half, rest, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#else
    x[i] = half;
#endif
  }
  transpose4(x);
}
template <typename T>
INLINE void store_lanes(T* const lane[LANES], int64_t at, int used, Vec x[4]) {
  transpose4(x);
  for (int i = 0; i < 4; i++) {
    if (i < used) store4(lane[i] + at, __builtin_shufflevector(x[i], x[i], 0, 1, 2, 3));
    if (i + 4 < used) store4(lane[i + 4] + at, __builtin_shufflevector(x[i], x[i], 4, 5, 6, 7));
#ifdef __AVX512F__
    if (i + 8 < used) store4(lane[i + 8] + at, __builtin_shufflevector(x[i], x[i], 8, 9, 10, 11));
    if (i + 12 < used) store4(lane[i + 12] + at, __builtin_shufflevector(x[i], x[i], 12, 13, 14, 15));
#endif
  }
}

// One thread's memory, kept between calls.
Vec* scratch(int64_t vectors) {
  thread_local std::vector<Vec> memory;
  if (int64_t(memory.size()) < vectors) memory = std::vector<Vec>(vectors);
  return memory.data();
}

}  // namespace
