/* Cross-entropy of rows of logits, and its gradient in their place. Formula: nn/linear_cross_entropy.py. */
#include <math.h>

#include "common.h"

NOINLINE static void cross_entropy_rows(element *scores, const int64_t *targets, float *losses, int64_t vocabulary,
                                      int64_t gradient, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
        element *z = scores + row * vocabulary;
        float largest = -INFINITY;
#pragma omp simd reduction(max : largest)
        for (int64_t i = 0; i < vocabulary; i++) {
            float value = upcast(z[i]);
            largest = value > largest ? value : largest;
        }
        double total = 0.0;
        for (int64_t start = 0; start < vocabulary; start += 4096) { /* fp32 sums of few terms keep their precision */
            int64_t end = start + 4096 < vocabulary ? start + 4096 : vocabulary;
            float part = 0.0f;
#pragma omp simd reduction(+ : part)
            for (int64_t i = start; i < end; i++) part += exp_of(upcast(z[i]) - largest);
            total += part;
        }
        float target = upcast(z[targets[row]]) - largest, share = (float)(1.0 / total);
        losses[row] = (float)log(total) - target;
        if (!gradient) continue;
#pragma omp simd
        for (int64_t i = 0; i < vocabulary; i++) z[i] = downcast(exp_of(upcast(z[i]) - largest) * share);
        z[targets[row]] = downcast(exp_of(target) * share - 1.0f);
    }
}

/* losses (rows,) = -log softmax(scores)_target; where `gradient`, scores (rows, vocabulary) become softmax - onehot. */
KERNEL(cross_entropy)(element *scores, const int64_t *targets, float *losses, int64_t rows, int64_t vocabulary,
                                  int64_t gradient, int64_t threads) {
    SHARE(rows, threads, cross_entropy_rows(scores, targets, losses, vocabulary, gradient, first, last));
}
