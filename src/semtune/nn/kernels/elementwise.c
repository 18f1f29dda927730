/* RMSNorm with the residual sum before it, and SwiGLU: forward and backward. Formulas: nn/elementwise.py. */
#include <math.h>

#include "common.h"

CLONES static void norm_rows(const bf16 *x, const bf16 *delta, const bf16 *weight, float eps, bf16 *sum, bf16 *y,
                             float *inverse, int64_t width, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
        const bf16 *in = x + row * width;
        bf16 *out = y + row * width;
        float square = 0.0f;
        if (delta != NULL) {
            const bf16 *more = delta + row * width;
            bf16 *kept = sum + row * width;
#pragma omp simd reduction(+ : square)
            for (int64_t i = 0; i < width; i++) {
                bf16 rounded = downcast(upcast(in[i]) + upcast(more[i]));
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
EXPORT void semtune_norm(const bf16 *x, const bf16 *delta, const bf16 *weight, float eps, bf16 *sum, bf16 *y,
                         float *inverse, int64_t rows, int64_t width, int64_t threads) {
    SHARE(rows, threads, norm_rows(x, delta, weight, eps, sum, y, inverse, width, first, last));
}

CLONES static void norm_backward_rows(const bf16 *x, const bf16 *weight, const float *inverse, const bf16 *grad_y,
                                      const bf16 *grad_sum, bf16 *grad_x, int64_t width, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
        const bf16 *in = x + row * width, *dy = grad_y + row * width;
        bf16 *out = grad_x + row * width;
        float scale = inverse[row], share = 0.0f;
#pragma omp simd reduction(+ : share)
        for (int64_t i = 0; i < width; i++) share += upcast(dy[i]) * upcast(weight[i]) * upcast(in[i]);
        share = share * scale * scale / (float)width;
        if (grad_sum != NULL) {
            const bf16 *more = grad_sum + row * width;
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
EXPORT void semtune_norm_backward(const bf16 *x, const bf16 *weight, const float *inverse, const bf16 *grad_y,
                                  const bf16 *grad_sum, bf16 *grad_x, int64_t rows, int64_t width, int64_t threads) {
    SHARE(rows, threads, norm_backward_rows(x, weight, inverse, grad_y, grad_sum, grad_x, width, first, last));
}

CLONES static void swiglu_range(const bf16 *gate, const bf16 *up, bf16 *y, int64_t first, int64_t last) {
#pragma omp simd
    for (int64_t i = first; i < last; i++) {
        float g = upcast(gate[i]);
        y[i] = downcast(g / (1.0f + exp_of(-g)) * upcast(up[i]));
    }
}

/* y = silu(gate) ⊙ up over `count` elements. */
EXPORT void semtune_swiglu(const bf16 *gate, const bf16 *up, bf16 *y, int64_t count, int64_t threads) {
    SHARE(count, threads, swiglu_range(gate, up, y, first, last));
}

CLONES static void swiglu_backward_range(const bf16 *gate, const bf16 *up, const bf16 *grad_y, bf16 *grad_gate,
                                         bf16 *grad_up, int64_t first, int64_t last) {
#pragma omp simd
    for (int64_t i = first; i < last; i++) {
        float g = upcast(gate[i]), dy = upcast(grad_y[i]);
        float sigmoid = 1.0f / (1.0f + exp_of(-g));
        grad_up[i] = downcast(dy * g * sigmoid);
        grad_gate[i] = downcast(dy * upcast(up[i]) * sigmoid * (1.0f + g * (1.0f - sigmoid)));
    }
}

EXPORT void semtune_swiglu_backward(const bf16 *gate, const bf16 *up, const bf16 *grad_y, bf16 *grad_gate, bf16 *grad_up,
                                    int64_t count, int64_t threads) {
    SHARE(count, threads, swiglu_backward_range(gate, up, grad_y, grad_gate, grad_up, first, last));
}
