/* DoRA's factor on every output column, forward and backward (nn/low_rank.py, _ScaleRows); the gradient of a norm's
 * weight (nn/elementwise.py, _weight_gradient); argmax of each row. */
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

NOINLINE static void scale_backward_range(const element *grad_y, const element *y, const float *factor, element *grad_z, float *total,
                                        int64_t rows, int64_t width, int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i++) total[i] = 0.0f;
    for (int64_t row = 0; row < rows; row++) {
        const element *g = grad_y + row * width, *v = y + row * width;
        element *out = grad_z + row * width;
#pragma omp simd
        for (int64_t i = first; i < last; i++) {
            float grad = upcast(g[i]);
            total[i] += grad * upcast(v[i]);
            out[i] = downcast(grad * factor[i]);
        }
    }
}

/* grad_z = grad_y ⊙ factor, total (width,) = the sum over rows of grad_y ⊙ y; columns are shared among threads. */
KERNEL(scale_columns_backward)(const element *grad_y, const element *y, const float *factor, element *grad_z,
                                           float *total, int64_t rows, int64_t width, int64_t threads) {
    SHARE(width, threads, scale_backward_range(grad_y, y, factor, grad_z, total, rows, width, first, last));
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
