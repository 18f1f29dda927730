/* Padding, unpadding, rotary embeddings and causal softmax for attention. Formulas: nn/padding.py.
 *
 * A block is (texts, heads, max_seqlen, dim), right-padded with zeros. Text i has the `counts[i]` packed rows from
 * `offsets[i]` on; `positions` (texts, max_seqlen) holds the position of each row in its text.
 */
#include <math.h>

#include "common.h"

/* Rotates one row by its angles: (x1 cos - x2 sin, x2 cos + x1 sin). */
INLINE void rotate(const element *in, element *out, const float *cosine, const float *sine, float sign, int64_t half) {
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        float a = upcast(in[i]), b = upcast(in[i + half]), s = sign * sine[i];
        out[i] = downcast(a * cosine[i] - b * s);
        out[i + half] = downcast(b * cosine[i] + a * s);
    }
}

NOINLINE static void pad_range(const element *rows, element *block, const int32_t *offsets, const int32_t *counts,
                              const int32_t *positions, const float *cosine, const float *sine, int64_t heads,
                              int64_t max_seqlen, int64_t dim, int64_t first, int64_t last) {
    for (int64_t pair = first; pair < last; pair++) {
        int64_t text = pair / heads, head = pair % heads;
        element *out = block + pair * max_seqlen * dim;
        for (int64_t j = 0; j < counts[text]; j++, out += dim) {
            const element *in = rows + ((offsets[text] + j) * heads + head) * dim;
            int64_t at = cosine == NULL ? 0 : positions[text * max_seqlen + j] * (dim / 2);
            if (cosine == NULL)
                memcpy(out, in, (size_t)dim * sizeof(element));
            else
                rotate(in, out, cosine + at, sine + at, 1.0f, dim / 2);
        }
        memset(out, 0, (size_t)((max_seqlen - counts[text]) * dim) * sizeof(element));
    }
}

/* Pads packed rows (rows, heads, dim) into a block, rotated by the angles of their positions if `cosine` is given. */
KERNEL(pad)(const element *rows, element *block, const int32_t *offsets, const int32_t *counts,
                         const int32_t *positions, const float *cosine, const float *sine, int64_t texts, int64_t heads,
                         int64_t max_seqlen, int64_t dim, int64_t threads) {
    SHARE(texts *heads, threads, pad_range(rows, block, offsets, counts, positions, cosine, sine, heads, max_seqlen, dim,
                                            first, last));
}

NOINLINE static void unpad_range(const element *block, element *rows, const int32_t *offsets, const int32_t *counts,
                                const int32_t *positions, const float *cosine, const float *sine, int64_t heads,
                                int64_t max_seqlen, int64_t dim, int64_t first, int64_t last) {
    for (int64_t pair = first; pair < last; pair++) {
        int64_t text = pair / heads, head = pair % heads;
        const element *in = block + pair * max_seqlen * dim;
        for (int64_t j = 0; j < counts[text]; j++, in += dim) {
            element *out = rows + ((offsets[text] + j) * heads + head) * dim;
            int64_t at = cosine == NULL ? 0 : positions[text * max_seqlen + j] * (dim / 2);
            if (cosine == NULL)
                memcpy(out, in, (size_t)dim * sizeof(element));
            else
                rotate(in, out, cosine + at, sine + at, -1.0f, dim / 2);
        }
    }
}

/* Unpads a block into packed rows, rotated back; the padding rows `filled` to `all` become zero. */
KERNEL(unpad)(const element *block, element *rows, const int32_t *offsets, const int32_t *counts,
                           const int32_t *positions, const float *cosine, const float *sine, int64_t texts, int64_t heads,
                           int64_t max_seqlen, int64_t dim, int64_t filled, int64_t all, int64_t threads) {
    SHARE(texts *heads, threads, unpad_range(block, rows, offsets, counts, positions, cosine, sine, heads, max_seqlen, dim,
                                              first, last));
    memset(rows + filled * heads * dim, 0, (size_t)((all - filled) * heads * dim) * sizeof(element));
}

NOINLINE static void softmax_range(element *scores, const int32_t *counts, const int32_t *positions, float scale,
                                 int64_t heads, int64_t max_seqlen, int64_t keys, int64_t first, int64_t last) {
    for (int64_t pair = first; pair < last; pair++) {
        int64_t text = pair / heads;
        element *row = scores + pair * max_seqlen * keys;
        for (int64_t j = 0; j < counts[text]; j++, row += keys) {
            int64_t visible = positions[text * max_seqlen + j] + 1;
            float largest = -INFINITY, total = 0.0f;
#pragma omp simd reduction(max : largest)
            for (int64_t i = 0; i < visible; i++) {
                float value = upcast(row[i]);
                largest = value > largest ? value : largest;
            }
#pragma omp simd reduction(+ : total)
            for (int64_t i = 0; i < visible; i++) total += exp_of((upcast(row[i]) - largest) * scale);
            float share = 1.0f / total;
#pragma omp simd
            for (int64_t i = 0; i < visible; i++) row[i] = downcast(exp_of((upcast(row[i]) - largest) * scale) * share);
            memset(row + visible, 0, (size_t)(keys - visible) * sizeof(element));
        }
        memset(row, 0, (size_t)((max_seqlen - counts[text]) * keys) * sizeof(element));
    }
}

/* scores (texts, heads, max_seqlen, keys) -> softmax(scale · scores) over the keys at or before each query, in place;
 * zero elsewhere and in padded rows. `scale` is positive. */
KERNEL(causal_softmax)(element *scores, const int32_t *counts, const int32_t *positions, float scale,
                                   int64_t texts, int64_t heads, int64_t max_seqlen, int64_t keys, int64_t threads) {
    SHARE(texts *heads, threads, softmax_range(scores, counts, positions, scale, heads, max_seqlen, keys, first, last));
}
