/* Around attention's products: rows into rotated blocks and back, softmax under the causal mask. See
 * nn/attention_blocks.py; what trains on short texts is in short_attention.c.
 *
 * A block is (texts, heads, max_seqlen, dim), right-padded with zeros. `starts` and `counts` (texts,) say which rows of
 * (rows, heads, dim) belong to a text; `positions` (texts, max_seqlen) is where each stands in its text.
 */
#include <math.h>

#include "common.h"

/* One row turned by its angles: (x1 cos - x2 sin, x2 cos + x1 sin). */
INLINE void turn(const bf16 *in, bf16 *out, const float *cosine, const float *sine, float sign, int64_t half) {
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        float a = widen(in[i]), b = widen(in[i + half]), s = sign * sine[i];
        out[i] = narrow(a * cosine[i] - b * s);
        out[i + half] = narrow(b * cosine[i] + a * s);
    }
}

CLONES static void pack_range(const bf16 *rows, bf16 *block, const int32_t *starts, const int32_t *counts,
                              const int32_t *positions, const float *cosine, const float *sine, int64_t heads,
                              int64_t max_seqlen, int64_t dim, int64_t first, int64_t last) {
    for (int64_t pair = first; pair < last; pair++) {
        int64_t text = pair / heads, head = pair % heads;
        bf16 *out = block + pair * max_seqlen * dim;
        for (int64_t j = 0; j < counts[text]; j++, out += dim) {
            const bf16 *in = rows + ((starts[text] + j) * heads + head) * dim;
            int64_t at = cosine == NULL ? 0 : positions[text * max_seqlen + j] * (dim / 2);
            if (cosine == NULL)
                memcpy(out, in, (size_t)dim * sizeof(bf16));
            else
                turn(in, out, cosine + at, sine + at, 1.0f, dim / 2);
        }
        memset(out, 0, (size_t)((max_seqlen - counts[text]) * dim) * sizeof(bf16));
    }
}

/* Rows (rows, heads, dim) into a block, turned by the angles of their positions where `cosine` is given. */
EXPORT void semtune_pack(const bf16 *rows, bf16 *block, const int32_t *starts, const int32_t *counts,
                         const int32_t *positions, const float *cosine, const float *sine, int64_t texts, int64_t heads,
                         int64_t max_seqlen, int64_t dim, int64_t threads) {
    SHARE(texts *heads, threads, pack_range(rows, block, starts, counts, positions, cosine, sine, heads, max_seqlen, dim,
                                            first, last));
}

CLONES static void unpack_range(const bf16 *block, bf16 *rows, const int32_t *starts, const int32_t *counts,
                                const int32_t *positions, const float *cosine, const float *sine, int64_t heads,
                                int64_t max_seqlen, int64_t dim, int64_t first, int64_t last) {
    for (int64_t pair = first; pair < last; pair++) {
        int64_t text = pair / heads, head = pair % heads;
        const bf16 *in = block + pair * max_seqlen * dim;
        for (int64_t j = 0; j < counts[text]; j++, in += dim) {
            bf16 *out = rows + ((starts[text] + j) * heads + head) * dim;
            int64_t at = cosine == NULL ? 0 : positions[text * max_seqlen + j] * (dim / 2);
            if (cosine == NULL)
                memcpy(out, in, (size_t)dim * sizeof(bf16));
            else
                turn(in, out, cosine + at, sine + at, -1.0f, dim / 2);
        }
    }
}

/* A block back into rows, turned back; rows after the last text's, `filled` to `all`, become zero. */
EXPORT void semtune_unpack(const bf16 *block, bf16 *rows, const int32_t *starts, const int32_t *counts,
                           const int32_t *positions, const float *cosine, const float *sine, int64_t texts, int64_t heads,
                           int64_t max_seqlen, int64_t dim, int64_t filled, int64_t all, int64_t threads) {
    SHARE(texts *heads, threads, unpack_range(block, rows, starts, counts, positions, cosine, sine, heads, max_seqlen, dim,
                                              first, last));
    memset(rows + filled * heads * dim, 0, (size_t)((all - filled) * heads * dim) * sizeof(bf16));
}

CLONES static void softmax_range(bf16 *scores, const int32_t *counts, const int32_t *positions, float scale,
                                 int64_t heads, int64_t max_seqlen, int64_t keys, int64_t first, int64_t last) {
    for (int64_t pair = first; pair < last; pair++) {
        int64_t text = pair / heads;
        bf16 *row = scores + pair * max_seqlen * keys;
        for (int64_t j = 0; j < counts[text]; j++, row += keys) {
            int64_t seen = positions[text * max_seqlen + j] + 1;
            float largest = -INFINITY, total = 0.0f;
#pragma omp simd reduction(max : largest)
            for (int64_t i = 0; i < seen; i++) {
                float value = widen(row[i]);
                largest = value > largest ? value : largest;
            }
#pragma omp simd reduction(+ : total)
            for (int64_t i = 0; i < seen; i++) total += exp_of((widen(row[i]) - largest) * scale);
            float share = 1.0f / total;
#pragma omp simd
            for (int64_t i = 0; i < seen; i++) row[i] = narrow(exp_of((widen(row[i]) - largest) * scale) * share);
            memset(row + seen, 0, (size_t)(keys - seen) * sizeof(bf16));
        }
        memset(row, 0, (size_t)((max_seqlen - counts[text]) * keys) * sizeof(bf16));
    }
}

/* scores (texts, heads, max_seqlen, keys) -> softmax(scale · scores) over the keys at or before each query, in place;
 * zero elsewhere and in padded rows. `scale` is positive. */
EXPORT void semtune_causal_softmax(bf16 *scores, const int32_t *counts, const int32_t *positions, float scale,
                                   int64_t texts, int64_t heads, int64_t max_seqlen, int64_t keys, int64_t threads) {
    SHARE(texts *heads, threads, softmax_range(scores, counts, positions, scale, heads, max_seqlen, keys, first, last));
}
