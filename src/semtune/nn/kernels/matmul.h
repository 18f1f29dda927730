/* Small fp32 matrix products, six rows at a time: 6 × TILE sums stay in registers during the loop over the inner dimension.
 *
 * For matrices too small to be worth a library call. The caller pads rows to ROWS and columns to 16, a multiple of LANES.
 */
#ifndef SEMTUNE_MATMUL_H
#define SEMTUNE_MATMUL_H

#include "common.h"

#define ROWS 6
#if defined(__AVX512F__) /* 32 registers of 16 floats */
#define LANES 16
#define VECTORS 4
#elif defined(__AVX2__) /* 16 registers of 8 */
#define LANES 8
#define VECTORS 2
#elif defined(__aarch64__) /* 32 registers of 4 */
#define LANES 4
#define VECTORS 4
#else /* 16 registers of 4 */
#define LANES 4
#define VECTORS 2
#endif
#define TILE (VECTORS * LANES) /* columns of a tile */

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));

typedef int32_t int_lanes __attribute__((vector_size(4 * LANES), aligned(4)));

/* The larger of each pair of lanes. */
#define LARGER(a, b) ((lanes)(((int_lanes)(a) & (int_lanes)((a) > (b))) | ((int_lanes)(b) & ~(int_lanes)((a) > (b)))))

/* The index of each lane. */
#if LANES == 16
#define IOTA ((int_lanes){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
#elif LANES == 8
#define IOTA ((int_lanes){0, 1, 2, 3, 4, 5, 6, 7})
#else
#define IOTA ((int_lanes){0, 1, 2, 3})
#endif

/* Lane i gets lane (i + by) mod LANES. */
#ifdef __clang__
INLINE lanes rotated(lanes v, const int by) {
    lanes result;
#pragma clang loop unroll(full)
    for (int i = 0; i < LANES; i++) result[i] = v[(i + by) & (LANES - 1)];
    return result;
}
#define ROTATED(v, by) rotated(v, by)
#else
#define ROTATED(v, by) __builtin_shuffle(v, (IOTA + (by)) & (LANES - 1))
#endif

INLINE float sum_of(const lanes *all) {
    lanes v = *all;
#if LANES == 16
    v += ROTATED(v, 8);
#endif
#if LANES >= 8
    v += ROTATED(v, 4);
#endif
    v += ROTATED(v, 2);
    v += ROTATED(v, 1);
    return v[0];
}

INLINE float largest_of(const lanes *all) {
    lanes v = *all;
#if LANES == 16
    v = LARGER(v, ROTATED(v, 8));
#endif
#if LANES >= 8
    v = LARGER(v, ROTATED(v, 4));
#endif
    v = LARGER(v, ROTATED(v, 2));
    v = LARGER(v, ROTATED(v, 1));
    return v[0];
}

INLINE int64_t round_up(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

/* c (rows, LANES · vectors) = a (rows, last - first) · b, or += where `add`; `rows` (at most ROWS) and `vectors` are
 * constants where this is inlined. */
INLINE void some_rows(const float *a, int64_t row, int64_t step, const float *b, int64_t b_width, float *c,
                      int64_t c_width, int64_t first, int64_t last, int64_t add, const int rows, const int vectors) {
    lanes sum[ROWS][VECTORS] = {{{0}}};
    if (add)
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) sum[i][j] = ((const lanes *)(c + i * c_width))[j];
    for (int64_t k = first; k < last; k++) {
        const lanes *column = (const lanes *)(b + k * b_width);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            float value = a[i * row + k * step];
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) sum[i][j] += value * column[j];
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) ((lanes *)(c + i * c_width))[j] = sum[i][j];
}

/* The same for ROWS rows. */
INLINE void tile(const float *a, int64_t row, int64_t step, const float *b, int64_t b_width, float *c, int64_t c_width,
                 int64_t first, int64_t last, int64_t add, const int vectors) {
    some_rows(a, row, step, b, b_width, c, c_width, first, last, add, ROWS, vectors);
}

/* c (6, columns) = the sum over k from `first` to `last` (exclusive) of a(i, k) b(k, ·), or += where `add`.
 *
 * a(i, k) is a[i · row + k · step], so a may be stored either way. `columns` is a multiple of LANES. */
__attribute__((unused)) NOINLINE static void matmul(const float *a, int64_t row, int64_t step, const float *b, int64_t b_width, float *c,
                           int64_t c_width, int64_t columns, int64_t first, int64_t last, int64_t add) {
    for (int64_t j = 0; j < columns; j += TILE) {
        switch ((columns - j) / LANES) {
        case 1: tile(a, row, step, b + j, b_width, c + j, c_width, first, last, add, 1); break;
#if VECTORS == 4
        case 2: tile(a, row, step, b + j, b_width, c + j, c_width, first, last, add, 2); break;
        case 3: tile(a, row, step, b + j, b_width, c + j, c_width, first, last, add, 3); break;
#endif
        default: tile(a, row, step, b + j, b_width, c + j, c_width, first, last, add, VECTORS);
        }
    }
}

#endif
