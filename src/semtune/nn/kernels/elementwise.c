/* RMSNorm with the residual sum before it, and SwiGLU: forward and backward. Formulas: nn/elementwise.py. */
#include <math.h>

#include "common.h"

NOINLINE static void norm_rows(const element *x, const element *delta, const element *weight, float eps, element *sum, element *y,
                             float *inverse, int64_t width, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
        const element *in = x + row * width;
        element *out = y + row * width;
        float square = 0.0f;
        if (delta != NULL) {
            const element *more = delta + row * width;
            element *kept = sum + row * width;
#pragma omp simd reduction(+ : square)
            for (int64_t i = 0; i < width; i++) {
                element rounded = downcast(upcast(in[i]) + upcast(more[i]));
                float value = upcast(rounded);
                kept[i] = rounded;
                square += value * value;
            }
            in = kept;
        } else {
#pragma omp simd reduction(+ : square)
            for (int64_t i = 0; i < width; i++) square += upcast(in[i]) * upcast(in[i]);
        }
        float scale = 1.0f / sqrtf(square / (float)width + eps);
        inverse[row] = scale;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) out[i] = downcast(upcast(in[i]) * scale * upcast(weight[i]));
    }
}

/* sum = x + delta (where delta is given), y = weight ⊙ sum / rms(sum); all (rows, width), inverse (rows,) is 1 / rms. */
KERNEL(norm)(const element *x, const element *delta, const element *weight, float eps, element *sum, element *y,
                         float *inverse, int64_t rows, int64_t width, int64_t threads) {
    SHARE(rows, threads, norm_rows(x, delta, weight, eps, sum, y, inverse, width, first, last));
}

NOINLINE static void norm_backward_rows(const element *x, const element *weight, const float *inverse, const element *grad_y,
                                      const element *grad_sum, element *grad_x, int64_t width, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
        const element *in = x + row * width, *dy = grad_y + row * width;
        element *out = grad_x + row * width;
        float scale = inverse[row], share = 0.0f;
#pragma omp simd reduction(+ : share)
        for (int64_t i = 0; i < width; i++) share += upcast(dy[i]) * upcast(weight[i]) * upcast(in[i]);
        share = share * scale * scale / (float)width;
        if (grad_sum != NULL) {
            const element *more = grad_sum + row * width;
#pragma omp simd
            for (int64_t i = 0; i < width; i++)
                out[i] =
                    downcast((upcast(dy[i]) * upcast(weight[i]) - upcast(in[i]) * share) * scale + upcast(more[i]));
        } else {
#pragma omp simd
            for (int64_t i = 0; i < width; i++)
                out[i] = downcast((upcast(dy[i]) * upcast(weight[i]) - upcast(in[i]) * share) * scale);
        }
    }
}

/* The gradient of the norm's input, plus `grad_sum`, the gradient that reached it beside the norm (may be NULL). */
KERNEL(norm_backward)(const element *x, const element *weight, const float *inverse, const element *grad_y,
                                  const element *grad_sum, element *grad_x, int64_t rows, int64_t width, int64_t threads) {
    SHARE(rows, threads, norm_backward_rows(x, weight, inverse, grad_y, grad_sum, grad_x, width, first, last));
}

NOINLINE static void swiglu_range(const element *gate, const element *up, element *y, int64_t first, int64_t last) {
#pragma omp simd
    for (int64_t i = first; i < last; i++) {
        float g = upcast(gate[i]);
        y[i] = downcast(g / (1.0f + exp_of(-g)) * upcast(up[i]));
    }
}

/* y = silu(gate) ⊙ up over `count` elements. */
KERNEL(swiglu)(const element *gate, const element *up, element *y, int64_t count, int64_t threads) {
    SHARE(count, threads, swiglu_range(gate, up, y, first, last));
}

NOINLINE static void swiglu_backward_range(const element *gate, const element *up, const element *grad_y, element *grad_gate,
                                         element *grad_up, int64_t first, int64_t last) {
#pragma omp simd
    for (int64_t i = first; i < last; i++) {
        float g = upcast(gate[i]), dy = upcast(grad_y[i]);
        float sigmoid = 1.0f / (1.0f + exp_of(-g));
        grad_up[i] = downcast(dy * g * sigmoid);
        grad_gate[i] = downcast(dy * upcast(up[i]) * sigmoid * (1.0f + g * (1.0f - sigmoid)));
    }
}

KERNEL(swiglu_backward)(const element *gate, const element *up, const element *grad_y, element *grad_gate, element *grad_up,
                                    int64_t count, int64_t threads) {
    SHARE(count, threads, swiglu_backward_range(gate, up, grad_y, grad_gate, grad_up, first, last));
}
