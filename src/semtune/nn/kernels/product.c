/* Products of fp32 matrices with many rows: y = x · Wᵀ, x · W and xᵀ · w (nn/products.py).
 *
 * Blocked as in BLIS (Van Zee & van de Geijn 2015): a panel of DEPTH rows and TILE columns of the right factor is copied
 * to the first-level cache and multiplied with the rows of the left one, six at a time. Threads share the columns, so no
 * sum depends on their number.
 */
#ifdef ELEMENT_FP32

#include "matmul.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

enum {
    DEPTH = 320,     /* of the inner dimension; a panel of it takes 20 KB */
    MOST_ROWS = 384, /* of the left factor, times DEPTH, in the second-level cache */
};

typedef struct {
    const float *left, *right;
    float *out;
    int64_t rows, columns, inner; /* out is (rows, columns) */
    int64_t left_row, left_step;  /* left(i, k) is left[i · left_row + k · left_step] */
    int64_t right_row;            /* stride of the rows of right */
    int64_t transposed;           /* right is (columns, inner), not (inner, columns) */
    int64_t out_row;              /* stride of the rows of out */
    int64_t add;                  /* whether the product is added to out */
} product;

enum {
    TOGETHER = 64 / TILE, /* panels whose rows are contiguous, so that memory is read in longer pieces */
    PANEL = DEPTH * TILE,
    BLOCK = DEPTH * (MOST_ROWS + ROWS),
};

#if defined(__AVX2__)
/* panel (8, width) = eight numbers of eight rows, transposed. */
INLINE void transpose_8(const float *from, int64_t stride, float *to, int64_t width) {
    __m256 r[8], s[8];
    for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(from + i * stride);
    for (int i = 0; i < 8; i += 2) {
        s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(to + i * width, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * width, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}
#endif

/* Panels of TILE columns each, the last one of fewer, for `count` columns from `column` on: (last - first, TILE) of the
 * rows `first` to `last` of the right factor, PANEL floats apart. */
NOINLINE static void copy_rows(const product *of, float *panel, int64_t column, int64_t count, int64_t first,
                               int64_t last) {
    for (int64_t k = first; k < last; k++) {
        const float *from = of->right + k * of->right_row + column;
        for (int64_t j = 0; j < count; j += TILE) {
            int64_t width = count - j < TILE ? count - j : TILE;
            float *to = panel + j / TILE * PANEL + (k - first) * width;
            for (int64_t i = 0; i < width; i += LANES) *(lanes *)(to + i) = *(const lanes *)(from + j + i);
        }
    }
}

/* One such panel of a right factor that is stored transposed. */
NOINLINE static void copy_columns(const product *of, float *panel, int64_t column, int64_t width, int64_t first,
                                  int64_t last) {
    const float *from = of->right + column * of->right_row;
    int64_t k = first;
#if defined(__AVX2__)
    for (; k + 8 <= last; k += 8)
        for (int64_t j = 0; j < width; j += 8)
            transpose_8(from + j * of->right_row + k, of->right_row, panel + (k - first) * width + j, width);
#endif
    for (; k < last; k++)
        for (int64_t j = 0; j < width; j++) panel[(k - first) * width + j] = from[j * of->right_row + k];
}

/* block = the rows of the left factor where they are not contiguous, six rows at a time: (groups, last - first, ROWS). */
NOINLINE static void copy_block(const product *of, float *block, int64_t row, int64_t end, int64_t first, int64_t last) {
    for (; row < end; row += ROWS) {
        int64_t count = end - row < ROWS ? end - row : ROWS;
        for (int64_t k = first; k < last; k++, block += ROWS)
            for (int64_t i = 0; i < count; i++) block[i] = of->left[(row + i) * of->left_row + k * of->left_step];
    }
}

#define CASE(count) \
    case count: some_rows(a, row, step, panel, width, c, c_width, 0, depth, add, count, vectors); break

/* c (rows, LANES · vectors) = or += a · panel, for 1 to ROWS rows. */
INLINE void group(const float *a, int64_t row, int64_t step, const float *panel, int64_t width, float *c, int64_t c_width,
                  int64_t depth, int64_t add, int64_t rows, const int vectors) {
    switch (rows) {
        CASE(1);
        CASE(2);
        CASE(3);
        CASE(4);
        CASE(5);
    default: some_rows(a, row, step, panel, width, c, c_width, 0, depth, add, ROWS, vectors);
    }
}

NOINLINE static void groups(const product *of, const float *a, int64_t row, int64_t step, int64_t advance,
                            const float *panel, int64_t width, float *c, int64_t rows, int64_t depth, int64_t add) {
    for (int64_t i = 0; i < rows; i += ROWS, a += advance, c += ROWS * of->out_row) {
        int64_t count = rows - i < ROWS ? rows - i : ROWS;
        switch (width / LANES) {
        case 1: group(a, row, step, panel, width, c, of->out_row, depth, add, count, 1); break;
#if VECTORS == 4
        case 2: group(a, row, step, panel, width, c, of->out_row, depth, add, count, 2); break;
        case 3: group(a, row, step, panel, width, c, of->out_row, depth, add, count, 3); break;
#endif
        default: group(a, row, step, panel, width, c, of->out_row, depth, add, count, VECTORS);
        }
    }
}

/* The tiles of columns `first` to `last`, in one thread. */
NOINLINE static void multiply(const product *of, int64_t first, int64_t last) {
    float panel[TOGETHER * PANEL], block[BLOCK]; /* on the stack, so that a plan need not count them: 0.6 MB */
    int64_t end_column = last * TILE < of->columns ? last * TILE : of->columns, together = of->transposed ? 1 : TOGETHER;
    int64_t parts = (of->inner + DEPTH - 1) / DEPTH, row_parts = (of->rows + MOST_ROWS - 1) / MOST_ROWS;
    int64_t most = round_up((of->rows + row_parts - 1) / row_parts, ROWS);
    for (int64_t row = 0; row < of->rows; row += most) {
        int64_t end = row + most < of->rows ? row + most : of->rows;
        for (int64_t part = 0; part < parts; part++) {
            int64_t from = of->inner * part / parts, to = of->inner * (part + 1) / parts, depth = to - from;
            const float *a = of->left + row * of->left_row + from * of->left_step;
            int64_t a_row = of->left_row, a_step = of->left_step, advance = ROWS * of->left_row;
            if (of->left_step != 1) {
                copy_block(of, block, row, end, from, to);
                a = block, a_row = 1, a_step = ROWS, advance = ROWS * depth;
            }
            for (int64_t at = first * TILE; at < end_column; at += together * TILE) {
                int64_t columns = end_column - at < together * TILE ? end_column - at : together * TILE;
                (of->transposed ? copy_columns : copy_rows)(of, panel, at, columns, from, to);
                for (int64_t j = 0; j < columns; j += TILE)
                    groups(of, a, a_row, a_step, advance, panel + j / TILE * PANEL, columns - j < TILE ? columns - j : TILE,
                           of->out + row * of->out_row + at + j, end - row, depth, part > 0 || of->add);
            }
        }
    }
}

/* out (rows, columns) = or += left (rows, inner) · right, see `product`; `columns` is a multiple of LANES. */
KERNEL(product)(const float *left, const float *right, float *out, int64_t rows, int64_t columns, int64_t inner,
                int64_t left_row, int64_t left_step, int64_t right_row, int64_t transposed, int64_t out_row, int64_t add,
                int64_t threads) {
    product of = {left, right, out, rows, columns, inner, left_row, left_step, right_row, transposed, out_row, add};
    SHARE((columns + TILE - 1) / TILE, threads, multiply(&of, first, last));
}

#else
typedef int no_product_of_bf16; /* libraries multiply bf16 */
#endif
