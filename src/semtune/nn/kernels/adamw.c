/* AdamW in one pass over memory: moments, bf16 weight, residual bits of its fp32 master; and sums of squares.
 * Formulas: training/masters.py. torch's AdamW updates fp32 weights. */
#include "adamw.h"

#ifndef ELEMENT_FP32

NOINLINE static void adamw_range(element *weight, int16_t *residual, float *mean, float *square, const element *grad,
                               const float *grad_fp32, const adamw_settings *s, int64_t first, int64_t last) {
    adamw_settings c = *s;
#pragma omp simd
    for (int64_t i = first; i < last; i++) {
        float g = (grad != NULL ? upcast(grad[i]) : grad_fp32[i]) * c.clip;
        float m = c.beta1 * mean[i] + (1.0f - c.beta1) * g;
        float v = c.beta2 * square[i] + (1.0f - c.beta2) * g * g;
        split_master(updated(join_master(weight[i], residual[i]), m, v, &c), &weight[i], &residual[i]);
        mean[i] = m;
        square[i] = v;
    }
}

/* One update of `count` weights; the gradient is bf16 (`grad`) or fp32 (`grad_fp32`), the other NULL. */
KERNEL(adamw)(element *weight, int16_t *residual, float *mean, float *square, const element *grad,
                          const float *grad_fp32, float rate, float beta1, float beta2, float eps, float decay,
                          float first, float second, float clip, int64_t count, int64_t threads) {
    adamw_settings settings = {rate, beta1, beta2, eps, decay, first, second, clip};
    SHARE(count, threads, adamw_range(weight, residual, mean, square, grad, grad_fp32, &settings, first, last));
}

#endif

NOINLINE static void square_range(const element *x, double *out, int64_t first, int64_t last) {
    double total = 0.0;
    for (int64_t start = first; start < last; start += 4096) {
        int64_t end = start + 4096 < last ? start + 4096 : last;
        float part = 0.0f;
#pragma omp simd reduction(+ : part)
        for (int64_t i = start; i < end; i++) part += upcast(x[i]) * upcast(x[i]);
        total += part;
    }
    *out = total;
}

/* partial (threads,): the sum of squares of each thread's part of x (count,). Entries of threads without a part are not
 * written. */
KERNEL(square_sum)(const element *x, double *partial, int64_t count, int64_t threads) {
    SHARE(count, threads, square_range(x, partial + part, first, last));
}
