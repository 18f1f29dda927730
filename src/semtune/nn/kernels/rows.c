/* A factor on every output column, forward and backward (nn/column_scaling.py), and what DoRA's depends on
 * (nn/row_norms.py); the gradient of a norm's weight (nn/elementwise.py, _weight_gradient); argmax of each row. */
#include <math.h>

#include "common.h"

NOINLINE static void scale_range(element *z, const float *factor, int64_t width, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
        element *at = z + row * width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) at[i] = downcast(upcast(at[i]) * factor[i]);
    }
}

/* z (rows, width) times factor (width,), in place. */
KERNEL(scale_columns)(element *z, const float *factor, int64_t rows, int64_t width, int64_t threads) {
    SHARE(rows, threads, scale_range(z, factor, width, first, last));
}

NOINLINE static void scale_backward_range(const element *grad_y, const element *y, const float *factor, element *grad_z,
                                          float *total, int64_t width, int64_t first, int64_t last) {
    memset(total, 0, (size_t)width * sizeof(float));
    for (int64_t row = first; row < last; row++) {
        const element *g = grad_y + row * width, *v = y + row * width;
        element *out = grad_z + row * width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) {
            float grad = upcast(g[i]);
            total[i] += grad * upcast(v[i]);
            out[i] = downcast(grad * factor[i]);
        }
    }
}

/* grad_z = grad_y ⊙ factor; total (width,) = the sum over rows of grad_y ⊙ y, over divisor (0 where that is 0) if given.
 * totals (threads, width) is scratch memory: rows are shared, as memory is read in its order then. */
KERNEL(scale_columns_backward)(const element *grad_y, const element *y, const float *factor, const float *divisor,
                               element *grad_z, float *total, float *totals, int64_t rows, int64_t width,
                               int64_t threads) {
    int64_t used = threads < rows ? threads : rows;
    SHARE(rows, threads, scale_backward_range(grad_y, y, factor, grad_z, totals + part * width, width, first, last));
    for (int64_t i = 0; i < width; i++) total[i] = 0.0f;
    for (int64_t thread = 0; thread < used; thread++)
        for (int64_t i = 0; i < width; i++) total[i] += totals[thread * width + i];
    if (divisor != NULL)
        for (int64_t i = 0; i < width; i++) total[i] = divisor[i] == 0.0f ? 0.0f : total[i] / divisor[i];
}

enum { LARGEST_RANK = 32 };

/* gram (rank, rank) = a · aᵀ for a (rank, in). */
NOINLINE static void gram_of(const float *a, float *gram, int64_t rank, int64_t in) {
    for (int64_t i = 0; i < rank; i++)
        for (int64_t j = 0; j <= i; j++) {
            float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
            for (int64_t k = 0; k < in; k++) sum += a[i * in + k] * a[j * in + k];
            gram[i * rank + j] = gram[j * rank + i] = sum;
        }
}

NOINLINE static void row_norm_range(const element *crossed, const float *squares, const float *gram, const float *b,
                                    float scale, float *norms, int64_t rank, int64_t out, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i++) {
        const float *row = b + i * rank;
        float cross = 0.0f, update = 0.0f;
        for (int64_t k = 0; k < rank; k++) {
            float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
            for (int64_t j = 0; j < rank; j++) sum += gram[k * rank + j] * row[j];
            cross += upcast(crossed[k * out + i]) * row[k];
            update += sum * row[k];
        }
        float square = squares[i] + 2.0f * scale * cross + scale * scale * update;
        norms[i] = sqrtf(square < 0.0f ? 0.0f : square);
    }
}

/* norms (out,) of the rows of W + scale · B A, of their squares in W (out,), A Wᵀ = crossed (rank, out), A and B; the rank
 * is at most LARGEST_RANK. */
KERNEL(row_norms)(const element *crossed, const float *squares, const float *a, const float *b, float *norms, float scale,
                  int64_t in, int64_t out, int64_t rank, int64_t threads) {
    float gram[LARGEST_RANK * LARGEST_RANK];
    gram_of(a, gram, rank, in);
    SHARE(out, threads, row_norm_range(crossed, squares, gram, b, scale, norms, rank, out, first, last));
}

/* scale (count,) = magnitude / norms, 0 where the norm is 0. */
KERNEL(row_scale)(const float *magnitude, const float *norms, float *scale, int64_t count, int64_t threads) {
    (void)threads;
    for (int64_t i = 0; i < count; i++) scale[i] = norms[i] > 0.0f ? magnitude[i] / norms[i] : 0.0f;
}

NOINLINE static void norm_weight_range(const element *x, const float *inverse, const element *grad_y, float *total, int64_t rows,
                                     int64_t width, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i++) total[i] = 0.0f;
    for (int64_t row = 0; row < rows; row++) {
        const element *in = x + row * width, *g = grad_y + row * width;
        float scale = inverse[row];
#pragma omp simd
        for (int64_t i = first; i < last; i++) total[i] += upcast(in[i]) * scale * upcast(g[i]);
    }
}

/* total (width,) = the sum over rows of x ⊙ inverse (rows,) ⊙ grad_y; columns are shared among threads. */
KERNEL(norm_weight)(const element *x, const float *inverse, const element *grad_y, float *total, int64_t rows,
                                int64_t width, int64_t threads) {
    SHARE(width, threads, norm_weight_range(x, inverse, grad_y, total, rows, width, first, last));
}

NOINLINE static void argmax_rows(const element *x, int64_t *best, int64_t width, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
        const element *at = x + row * width;
        float largest = upcast(at[0]);
        int32_t nan = 0;
#pragma omp simd reduction(max : largest) reduction(| : nan)
        for (int64_t i = 0; i < width; i++) {
            float value = upcast(at[i]);
            largest = value > largest ? value : largest;
            nan |= value != value;
        }
        int64_t index = 0;
        if (nan)
            while (upcast(at[index]) == upcast(at[index])) index++;
        else
            while (index < width && upcast(at[index]) != largest) index++;
        /* No element equals it where all are -inf and the compiler's maximum starts at the lowest finite number. */
        best[row] = index < width ? index : 0;
    }
}

/* best (rows,): the index of the largest element of each row of x (rows, width), the first of equals; of the first NaN
 * where there is one, as torch's argmax. */
KERNEL(argmax)(const element *x, int64_t *best, int64_t rows, int64_t width, int64_t threads) {
    SHARE(rows, threads, argmax_rows(x, best, width, first, last));
}
