/* Small fp32 matrix products, six rows at a time: 6 × 64 sums stay in registers during the loop over the inner dimension.
 *
 * For matrices too small to be worth a library call. The caller pads rows to ROWS and columns to LANES.
 */
#ifndef SEMTUNE_MATMUL_H
#define SEMTUNE_MATMUL_H

#include "common.h"

enum { ROWS = 6, LANES = 16 };

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));

typedef int32_t int_lanes __attribute__((vector_size(4 * LANES), aligned(4)));

/* The larger of each pair of lanes. */
#define LARGER(a, b) ((lanes)(((int_lanes)(a) & (int_lanes)((a) > (b))) | ((int_lanes)(b) & ~(int_lanes)((a) > (b)))))

/* The index of each lane. */
#define IOTA ((int_lanes){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})

/* Lane i gets lane (i + by) mod 16. */
#define ROTATED(v, by)                                                                                                \
    __builtin_shuffle(v, (int_lanes){(0 + by) % 16, (1 + by) % 16, (2 + by) % 16, (3 + by) % 16, (4 + by) % 16,       \
                                     (5 + by) % 16, (6 + by) % 16, (7 + by) % 16, (8 + by) % 16, (9 + by) % 16,       \
                                     (10 + by) % 16, (11 + by) % 16, (12 + by) % 16, (13 + by) % 16, (14 + by) % 16,  \
                                     (15 + by) % 16})

INLINE float sum_of(const lanes *all) {
    lanes v = *all;
    v += ROTATED(v, 8);
    v += ROTATED(v, 4);
    v += ROTATED(v, 2);
    v += ROTATED(v, 1);
    return v[0];
}

INLINE float largest_of(const lanes *all) {
    lanes v = *all;
    v = LARGER(v, ROTATED(v, 8));
    v = LARGER(v, ROTATED(v, 4));
    v = LARGER(v, ROTATED(v, 2));
    v = LARGER(v, ROTATED(v, 1));
    return v[0];
}

INLINE int64_t round_up(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

/* c (6, 16 · vectors) = a (6, last - first) · b, or += where `add`; `vectors` is a constant where this is inlined. */
INLINE void tile(const float *a, int64_t row, int64_t step, const float *b, int64_t b_width, float *c, int64_t c_width,
                 int64_t first, int64_t last, int64_t add, const int vectors) {
    lanes sum[ROWS][4] = {{{0}}};
    if (add)
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) sum[i][j] = ((const lanes *)(c + i * c_width))[j];
    for (int64_t k = first; k < last; k++) {
        const lanes *column = (const lanes *)(b + k * b_width);
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) {
            float value = a[i * row + k * step];
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) sum[i][j] += value * column[j];
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) ((lanes *)(c + i * c_width))[j] = sum[i][j];
}

/* c (6, columns) = the sum over k from `first` to `last` (exclusive) of a(i, k) b(k, ·), or += where `add`.
 *
 * a(i, k) is a[i · row + k · step], so a may be stored either way. `columns` is a multiple of LANES. */
CLONES static void matmul(const float *a, int64_t row, int64_t step, const float *b, int64_t b_width, float *c,
                           int64_t c_width, int64_t columns, int64_t first, int64_t last, int64_t add) {
    for (int64_t j = 0; j < columns; j += 4 * LANES) {
        switch ((columns - j) / LANES) {
        case 1: tile(a, row, step, b + j, b_width, c + j, c_width, first, last, add, 1); break;
        case 2: tile(a, row, step, b + j, b_width, c + j, c_width, first, last, add, 2); break;
        case 3: tile(a, row, step, b + j, b_width, c + j, c_width, first, last, add, 3); break;
        default: tile(a, row, step, b + j, b_width, c + j, c_width, first, last, add, 4);
        }
    }
}

#endif
