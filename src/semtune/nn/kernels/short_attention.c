/* Causal attention over a packed batch of short texts, forward and backward. Formulas: nn/short_attention.py.
 *
 * One text and one kv head at a time: its q, k and v are upcast to fp32 and rotated into scratch memory that stays in a
 * core's cache. The backward starts from q, k and v alone and computes the attention weights again.
 *
 * Rows of a text's block are ordered by (query, head of the group), so the number of visible keys never falls from one
 * row to the next. A key's index is its position, so all products end, or begin, at the causal mask.
 */
#include <math.h>

#include "matmul.h"

typedef struct {
    const element *q, *k, *v, *grad; /* (rows, heads, dim) or (rows, kv_heads, dim); grad of `out`, NULL: forward */
    element *out;                    /* as q */
    element *grad_q, *grad_k, *grad_v; /* as q, k, v; each may be NULL */
    const int32_t *query_offsets, *query_counts, *query_positions;
    const int32_t *key_offsets, *key_counts;
    const float *cosine, *sine; /* (positions, dim / 2), or NULL */
    float *scratch;             /* `scratch_floats` floats per thread */
    float scale;
    int64_t scratch_floats, texts, heads, kv_heads, max_seqlen_q, dim, all_queries, all_keys;
} attention;

/* Scratch memory for one text and kv head, all fp32 and padded; kt is Kᵀ. */
typedef struct {
    float *q, *grad;     /* (rows, width), q times scale */
    float *k, *v;        /* (keys, width) */
    float *kt, *vt;      /* (width, keys) */
    float *weights, *gs; /* (rows, keys): softmax, and the gradient of the scores */
    float *six_rows;          /* (6, width), part of a result */
    int64_t width, keys; /* as padded */
    int64_t rows, group, seqlen_k; /* rows and keys without padding; query heads per kv head */
    const int32_t *at;   /* position of each query */
} block;

INLINE void load(const element *in, float *out, const float *cosine, const float *sine, float factor, int64_t dim) {
    int64_t half = dim / 2;
    if (cosine == NULL) {
#pragma omp simd
        for (int64_t i = 0; i < dim; i++) out[i] = upcast(in[i]) * factor;
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        float a = upcast(in[i]), b = upcast(in[i + half]);
        out[i] = (a * cosine[i] - b * sine[i]) * factor;
        out[i + half] = (b * cosine[i] + a * sine[i]) * factor;
    }
}

/* The inverse of `load`. */
INLINE void store(const float *in, element *out, const float *cosine, const float *sine, float factor, int64_t dim) {
    int64_t half = dim / 2;
    if (cosine == NULL) {
#pragma omp simd
        for (int64_t i = 0; i < dim; i++) out[i] = downcast(in[i] * factor);
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        float a = in[i], b = in[i + half];
        out[i] = downcast((a * cosine[i] + b * sine[i]) * factor);
        out[i + half] = downcast((b * cosine[i] - a * sine[i]) * factor);
    }
}

INLINE const float *angle(const float *table, int64_t position, int64_t dim) {
    return table == NULL ? NULL : table + position * (dim / 2);
}

NOINLINE static void load_queries(const attention *s, const block *b, const element *in, float *out, int64_t rotated,
                                float factor, int64_t text, int64_t kv) {
    memset(out, 0, (size_t)(round_up(b->rows, ROWS) * b->width) * sizeof(float));
    for (int64_t row = 0; row < b->rows; row++) {
        int64_t query = row / b->group, head = kv * b->group + row % b->group;
        const float *cosine = rotated ? angle(s->cosine, b->at[query], s->dim) : NULL;
        const float *sine = rotated ? angle(s->sine, b->at[query], s->dim) : NULL;
        load(in + ((s->query_offsets[text] + query) * s->heads + head) * s->dim, out + row * b->width, cosine, sine,
             factor, s->dim);
    }
}

/* Keys or values, (keys, width) and transposed. */
NOINLINE static void load_keys(const attention *s, const block *b, const element *in, float *out, float *transposed,
                             int64_t rotated, int64_t text, int64_t kv) {
    memset(out, 0, (size_t)(b->keys * b->width) * sizeof(float));
    for (int64_t j = 0; j < b->seqlen_k; j++) {
        const float *cosine = rotated ? angle(s->cosine, j, s->dim) : NULL;
        const float *sine = rotated ? angle(s->sine, j, s->dim) : NULL;
        load(in + ((s->key_offsets[text] + j) * s->kv_heads + kv) * s->dim, out + j * b->width, cosine, sine, 1.0f,
             s->dim);
    }
    if (transposed == NULL) return;
    for (int64_t i = 0; i < s->dim; i++)
        for (int64_t j = 0; j < b->keys; j++) transposed[i * b->keys + j] = out[j * b->width + i];
}

/* The number of keys that are visible to the last of the six rows from `row` on. */
INLINE int64_t visible_keys(const block *b, int64_t row) {
    int64_t last = row + ROWS < b->rows ? row + ROWS : b->rows;
    return b->at[(last - 1) / b->group] + 1;
}

/* The first row to whose query `key` is visible; `rows` where there is none. */
INLINE int64_t first_row(const block *b, int64_t key) {
    int64_t row = 0;
    while (row < b->rows && b->at[row / b->group] < key) row += b->group;
    return row;
}

/* Softmax of a row over its `visible` keys; zero from there to `keys`. The loops go through whole registers, because rows
 * are short and a scalar remainder would cost more than the rest. Masked lanes become zero before they are multiplied:
 * they could be subnormal numbers, which are slow. */
INLINE void softmax_row(float *p, int32_t visible, int64_t keys) {
    lanes largest = *(lanes *)p, total = {0};
    for (int32_t i = 0; i < visible; i += LANES) {
        lanes value = *(lanes *)(p + i), hidden = {0};
        int_lanes masked = IOTA >= visible - i;
        value = (lanes)(((int_lanes)value & ~masked) | ((int_lanes)(hidden - INFINITY) & masked));
        largest = i == 0 ? value : LARGER(largest, value);
    }
    float top = largest_of(&largest);
    for (int32_t i = 0; i < visible; i += LANES) {
        float *at = p + i;
#pragma omp simd
        for (int j = 0; j < LANES; j++) at[j] = exp_of(at[j] - top);
        *(lanes *)at = (lanes)((int_lanes)(*(lanes *)at) & (IOTA < visible - i));
        total += *(lanes *)at;
    }
    float share = 1.0f / sum_of(&total);
    for (int32_t i = 0; i < visible; i += LANES) *(lanes *)(p + i) *= share;
    for (int64_t i = round_up(visible, LANES); i < keys; i += LANES) *(lanes *)(p + i) = (lanes){0};
}

/* g = p ⊙ (g - the sum of p ⊙ g) */
INLINE void softmax_backward_row(const float *p, float *g, int64_t visible, int64_t keys) {
    lanes total = {0};
    for (int64_t i = 0; i < visible; i += LANES) total += *(const lanes *)(p + i) * *(lanes *)(g + i);
    float share = sum_of(&total);
    for (int64_t i = 0; i < visible; i += LANES)
        *(lanes *)(g + i) = *(const lanes *)(p + i) * (*(lanes *)(g + i) - share);
    for (int64_t i = round_up(visible, LANES); i < keys; i += LANES) *(lanes *)(g + i) = (lanes){0};
}

/* out (rows, keys) = `left` (rows, width) times `keys_transposed` (width, keys), up to each row's visible keys. */
INLINE void matmul_keys(const attention *s, const block *b, const float *left, const float *keys_transposed,
                        float *out) {
    for (int64_t first = 0; first < b->rows; first += ROWS) {
        int64_t columns = round_up(visible_keys(b, first), LANES);
        matmul(left + first * b->width, b->width, 1, keys_transposed, b->keys, out + first * b->keys, b->keys,
               columns, 0, s->dim, 0);
    }
}

/* weights = softmax(q kᵀ) under the mask, zero elsewhere. */
NOINLINE static void weigh(const attention *s, const block *b) {
    matmul_keys(s, b, b->q, b->kt, b->weights);
    for (int64_t row = 0; row < b->rows; row += b->group)
        for (int64_t head = 0; head < b->group; head++)
            softmax_row(b->weights + (row + head) * b->keys, b->at[row / b->group] + 1, b->keys);
}

/* gs = weights ⊙ (grad vᵀ - the sum over keys of weights ⊙ grad vᵀ) */
NOINLINE static void score_gradient(const attention *s, const block *b) {
    matmul_keys(s, b, b->grad, b->vt, b->gs);
    for (int64_t row = 0; row < b->rows; row += b->group)
        for (int64_t head = 0; head < b->group; head++) {
            int64_t at = (row + head) * b->keys;
            softmax_backward_row(b->weights + at, b->gs + at, b->at[row / b->group] + 1, b->keys);
        }
}

/* out, as q: `left` (rows, keys) times `right` (keys, width), rotated back where `rotated`. */
NOINLINE static void write_queries(const attention *s, const block *b, const float *left, const float *right, element *out,
                                 int64_t rotated, float factor, int64_t text, int64_t kv) {
    for (int64_t first = 0; first < b->rows; first += ROWS) {
        matmul(left + first * b->keys, b->keys, 1, right, b->width, b->six_rows, b->width, b->width, 0,
               visible_keys(b, first), 0);
        for (int64_t row = first; row < first + ROWS && row < b->rows; row++) {
            int64_t query = row / b->group, head = kv * b->group + row % b->group;
            const float *cosine = rotated ? angle(s->cosine, b->at[query], s->dim) : NULL;
            const float *sine = rotated ? angle(s->sine, b->at[query], s->dim) : NULL;
            store(b->six_rows + (row - first) * b->width,
                  out + ((s->query_offsets[text] + query) * s->heads + head) * s->dim, cosine, sine, factor, s->dim);
        }
    }
}

/* out, as k: `left`ᵀ (keys, rows) times `right` (rows, width), rotated back where `rotated`. */
NOINLINE static void write_keys(const attention *s, const block *b, const float *left, const float *right, element *out,
                              int64_t rotated, int64_t text, int64_t kv) {
    for (int64_t first = 0; first < b->seqlen_k; first += ROWS) {
        matmul(left + first, 1, b->keys, right, b->width, b->six_rows, b->width, b->width, first_row(b, first), b->rows,
               0);
        for (int64_t j = first; j < first + ROWS && j < b->seqlen_k; j++) {
            const float *cosine = rotated ? angle(s->cosine, j, s->dim) : NULL;
            const float *sine = rotated ? angle(s->sine, j, s->dim) : NULL;
            store(b->six_rows + (j - first) * b->width, out + ((s->key_offsets[text] + j) * s->kv_heads + kv) * s->dim,
                  cosine, sine, 1.0f, s->dim);
        }
    }
}

/* The block of a text in this thread's scratch; `_scratch_floats` in kernels/attention_operators.py counts its size. */
static block block_of(const attention *s, int64_t text) {
    int64_t group = s->heads / s->kv_heads, rows = s->query_counts[text] * group, seqlen_k = s->key_counts[text];
    int64_t width = round_up(s->dim, LANES), keys = round_up(round_up(seqlen_k, ROWS), LANES);
    int64_t padded = round_up(rows, ROWS);
    float *at = s->scratch + THREAD_INDEX * s->scratch_floats;
    block b = {.width = width, .keys = keys, .rows = rows, .group = group, .seqlen_k = seqlen_k,
               .at = s->query_positions + text * s->max_seqlen_q};
    float **parts[] = {&b.q, &b.grad, &b.k, &b.v, &b.kt, &b.vt, &b.weights, &b.gs, &b.six_rows};
    int64_t sizes[] = {padded * width, padded * width, keys * width, keys * width, keys * width, keys * width,
                       padded * keys, padded * keys, ROWS * width};
    for (int i = 0; i < 9; i++) {
        *parts[i] = at;
        at += sizes[i];
    }
    return b;
}

static void attend(const attention *s, int64_t text, int64_t kv) {
    block b = block_of(s, text);
    load_queries(s, &b, s->q, b.q, 1, s->scale, text, kv);
    load_keys(s, &b, s->k, b.k, b.kt, 1, text, kv);
    weigh(s, &b);
    if (s->grad == NULL) {
        load_keys(s, &b, s->v, b.v, NULL, 0, text, kv);
        write_queries(s, &b, b.weights, b.v, s->out, 0, 1.0f, text, kv);
        return;
    }
    load_queries(s, &b, s->grad, b.grad, 0, 1.0f, text, kv);
    if (s->grad_v != NULL) write_keys(s, &b, b.weights, b.grad, s->grad_v, 0, text, kv);
    if (s->grad_q == NULL && s->grad_k == NULL) return;
    load_keys(s, &b, s->v, b.v, b.vt, 0, text, kv);
    score_gradient(s, &b);
    if (s->grad_q != NULL) write_queries(s, &b, b.gs, b.k, s->grad_q, 1, s->scale, text, kv);
    if (s->grad_k != NULL) write_keys(s, &b, b.gs, b.q, s->grad_k, 1, text, kv);
}

/* Sets the padding rows behind the last text to zero. */
static void zero_padding(element *out, const int32_t *offsets, const int32_t *counts, int64_t texts, int64_t all,
                         int64_t width) {
    if (out == NULL) return;
    int64_t filled = offsets[texts - 1] + counts[texts - 1];
    memset(out + filled * width, 0, (size_t)((all - filled) * width) * sizeof(element));
}

static void attend_all(const attention *s, int64_t threads) {
    zero_padding(s->out, s->query_offsets, s->query_counts, s->texts, s->all_queries, s->heads * s->dim);
    zero_padding(s->grad_q, s->query_offsets, s->query_counts, s->texts, s->all_queries, s->heads * s->dim);
    zero_padding(s->grad_k, s->key_offsets, s->key_counts, s->texts, s->all_keys, s->kv_heads * s->dim);
    zero_padding(s->grad_v, s->key_offsets, s->key_counts, s->texts, s->all_keys, s->kv_heads * s->dim);
    /* Texts differ in length, so a thread that is done takes the next one. */
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)threads)
    for (int64_t pair = 0; pair < s->texts * s->kv_heads; pair++) attend(s, pair / s->kv_heads, pair % s->kv_heads);
}

/* out = softmax(scale q kᵀ) v, each text by itself, q and k rotated by the angles of their positions where given. */
KERNEL(attention)(const element *q, const element *k, const element *v, element *out, const int32_t *query_offsets,
                              const int32_t *query_counts, const int32_t *query_positions, const int32_t *key_offsets,
                              const int32_t *key_counts, const float *cosine, const float *sine, float *scratch,
                              float scale, int64_t scratch_floats, int64_t texts, int64_t heads, int64_t kv_heads,
                              int64_t max_seqlen_q, int64_t dim, int64_t all_queries, int64_t all_keys,
                              int64_t threads) {
    attention s = {q, k, v, NULL, out, NULL, NULL, NULL, query_offsets, query_counts, query_positions, key_offsets,
                   key_counts, cosine, sine, scratch, scale, scratch_floats, texts, heads, kv_heads, max_seqlen_q, dim,
                   all_queries, all_keys};
    attend_all(&s, threads);
}

/* The gradients of q, k and v from `grad`, the gradient of the output; grad_q, grad_k and grad_v may be NULL. */
KERNEL(attention_backward)(const element *q, const element *k, const element *v, const element *grad, element *grad_q,
                                       element *grad_k, element *grad_v, const int32_t *query_offsets,
                                       const int32_t *query_counts, const int32_t *query_positions,
                                       const int32_t *key_offsets, const int32_t *key_counts, const float *cosine,
                                       const float *sine, float *scratch, float scale, int64_t scratch_floats,
                                       int64_t texts, int64_t heads, int64_t kv_heads, int64_t max_seqlen_q, int64_t dim,
                                       int64_t all_queries, int64_t all_keys, int64_t threads) {
    attention s = {q, k, v, grad, NULL, grad_q, grad_k, grad_v, query_offsets, query_counts, query_positions, key_offsets,
                   key_counts, cosine, sine, scratch, scale, scratch_floats, texts, heads, kv_heads, max_seqlen_q, dim,
                   all_queries, all_keys};
    attend_all(&s, threads);
}
