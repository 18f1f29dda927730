/* Causal attention over short texts laid end to end, forward and backward. Formulas: nn/short_attention.py.
 *
 * One text and one kv head at a time: what it needs is widened to fp32 and turned, stays in a core's cache, and is gone
 * afterwards. So nothing is kept for the backward but q, k and v, from which it makes the weights again.
 *
 * Rows of a text's block are (query, head of the group), so that the keys they see only ever grow: a key's place in its
 * text is its index, and all products end, or begin, where the mask does.
 */
#include <math.h>
#include <omp.h>

#include "product.h"

typedef struct {
    const bf16 *q, *k, *v, *grad; /* (rows, heads, dim) and (rows, kv_heads, dim); grad, of what comes out, may be NULL */
    bf16 *out;                    /* as q */
    bf16 *grad_q, *grad_k, *grad_v; /* as q, k, v; each may be NULL */
    const int32_t *query_starts, *query_counts, *query_positions;
    const int32_t *key_starts, *key_counts;
    const float *cosine, *sine; /* (positions, dim / 2), or NULL */
    float *scratch;             /* `room` floats a thread */
    float scale;
    int64_t room, texts, heads, kv_heads, max_seqlen_q, dim, all_queries, all_keys;
} attention;

/* What one text and kv head need, all fp32 and padded; Kᵀ is Kt. */
typedef struct {
    float *q, *grad;     /* (rows, width), q times scale */
    float *k, *v;        /* (keys, width) */
    float *kt, *vt;      /* (width, keys) */
    float *weights, *gs; /* (rows, keys): softmax, and the gradient of the scores */
    float *six;          /* (6, width) of a result */
    int64_t width, keys; /* as padded */
    int64_t rows, group, seen; /* real rows; heads of the group; real keys */
    const int32_t *at;   /* position of each query */
} block;

INLINE void load(const bf16 *in, float *out, const float *cosine, const float *sine, float factor, int64_t dim) {
    int64_t half = dim / 2;
    if (cosine == NULL) {
#pragma omp simd
        for (int64_t i = 0; i < dim; i++) out[i] = widen(in[i]) * factor;
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        float a = widen(in[i]), b = widen(in[i + half]);
        out[i] = (a * cosine[i] - b * sine[i]) * factor;
        out[i + half] = (b * cosine[i] + a * sine[i]) * factor;
    }
}

/* The way back of `load`. */
INLINE void store(const float *in, bf16 *out, const float *cosine, const float *sine, float factor, int64_t dim) {
    int64_t half = dim / 2;
    if (cosine == NULL) {
#pragma omp simd
        for (int64_t i = 0; i < dim; i++) out[i] = narrow(in[i] * factor);
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        float a = in[i], b = in[i + half];
        out[i] = narrow((a * cosine[i] + b * sine[i]) * factor);
        out[i + half] = narrow((b * cosine[i] - a * sine[i]) * factor);
    }
}

INLINE const float *angle(const float *table, int64_t position, int64_t dim) {
    return table == NULL ? NULL : table + position * (dim / 2);
}

CLONES static void load_queries(const attention *s, const block *b, const bf16 *in, float *out, int64_t turned,
                                float factor, int64_t text, int64_t kv) {
    memset(out, 0, (size_t)(round_up(b->rows, ROWS) * b->width) * sizeof(float));
    for (int64_t row = 0; row < b->rows; row++) {
        int64_t query = row / b->group, head = kv * b->group + row % b->group;
        const float *cosine = turned ? angle(s->cosine, b->at[query], s->dim) : NULL;
        const float *sine = turned ? angle(s->sine, b->at[query], s->dim) : NULL;
        load(in + ((s->query_starts[text] + query) * s->heads + head) * s->dim, out + row * b->width, cosine, sine, factor,
             s->dim);
    }
}

/* Keys or values, (keys, width) and transposed. */
CLONES static void load_keys(const attention *s, const block *b, const bf16 *in, float *out, float *transposed,
                             int64_t turned, int64_t text, int64_t kv) {
    memset(out, 0, (size_t)(b->keys * b->width) * sizeof(float));
    for (int64_t j = 0; j < b->seen; j++) {
        const float *cosine = turned ? angle(s->cosine, j, s->dim) : NULL, *sine = turned ? angle(s->sine, j, s->dim) : NULL;
        load(in + ((s->key_starts[text] + j) * s->kv_heads + kv) * s->dim, out + j * b->width, cosine, sine, 1.0f, s->dim);
    }
    if (transposed == NULL) return;
    for (int64_t i = 0; i < s->dim; i++)
        for (int64_t j = 0; j < b->keys; j++) transposed[i * b->keys + j] = out[j * b->width + i];
}

/* The keys that the queries of the six rows from `row` on see. */
INLINE int64_t seqlen_k(const block *b, int64_t row) {
    int64_t last = row + ROWS < b->rows ? row + ROWS : b->rows;
    return b->at[(last - 1) / b->group] + 1;
}

/* The first row whose query sees `key`; `rows` where none does. */
INLINE int64_t first_row(const block *b, int64_t key) {
    int64_t row = 0;
    while (row < b->rows && b->at[row / b->group] < key) row += b->group;
    return row;
}

/* A row's exponentials over the `seen` keys, divided by their sum; zero up to `keys`. In whole registers: these rows are
 * short, and what a loop does before and after them would cost more than the rows. What is not seen becomes zero before
 * it is multiplied, or it would be too small for a normal number, which is slow. */
INLINE void softmax_row(float *p, int32_t seen, int64_t keys) {
    lanes largest = *(lanes *)p, total = {0};
    for (int32_t i = 0; i < seen; i += LANES) {
        lanes value = *(lanes *)(p + i), hidden = {0};
        places unseen = IOTA >= seen - i;
        value = (lanes)(((places)value & ~unseen) | ((places)(hidden - INFINITY) & unseen));
        largest = i == 0 ? value : LARGER(largest, value);
    }
    float top = largest_of(&largest);
    for (int32_t i = 0; i < seen; i += LANES) {
        float *at = p + i;
#pragma omp simd
        for (int j = 0; j < LANES; j++) at[j] = exp_of(at[j] - top);
        *(lanes *)at = (lanes)(*(places *)at & (IOTA < seen - i));
        total += *(lanes *)at;
    }
    float share = 1.0f / sum_of(&total);
    for (int32_t i = 0; i < seen; i += LANES) *(lanes *)(p + i) *= share;
    for (int64_t i = round_up(seen, LANES); i < keys; i += LANES) *(lanes *)(p + i) = (lanes){0};
}

/* g = p ⊙ (g - the sum of p ⊙ g) */
INLINE void softmax_backward_row(const float *p, float *g, int64_t seen, int64_t keys) {
    lanes total = {0};
    for (int64_t i = 0; i < seen; i += LANES) total += *(const lanes *)(p + i) * *(lanes *)(g + i);
    float share = sum_of(&total);
    for (int64_t i = 0; i < seen; i += LANES) *(lanes *)(g + i) = *(const lanes *)(p + i) * (*(lanes *)(g + i) - share);
    for (int64_t i = round_up(seen, LANES); i < keys; i += LANES) *(lanes *)(g + i) = (lanes){0};
}

/* out (rows, keys) = `left` (rows, width) times `turned` (width, keys), as far as a row's queries see. */
INLINE void toward_keys(const attention *s, const block *b, const float *left, const float *turned, float *out) {
    for (int64_t first = 0; first < b->rows; first += ROWS) {
        int64_t columns = round_up(seqlen_k(b, first), LANES);
        product(left + first * b->width, b->width, 1, turned, b->keys, out + first * b->keys, b->keys, columns, 0,
                s->dim, 0);
    }
}

/* weights = softmax(q kᵀ) under the mask, zero elsewhere. */
CLONES static void weigh(const attention *s, const block *b) {
    toward_keys(s, b, b->q, b->kt, b->weights);
    for (int64_t row = 0; row < b->rows; row += b->group)
        for (int64_t head = 0; head < b->group; head++)
            softmax_row(b->weights + (row + head) * b->keys, b->at[row / b->group] + 1, b->keys);
}

/* gs = weights ⊙ (grad vᵀ - the sum over keys of weights ⊙ grad vᵀ) */
CLONES static void score_gradient(const attention *s, const block *b) {
    toward_keys(s, b, b->grad, b->vt, b->gs);
    for (int64_t row = 0; row < b->rows; row += b->group)
        for (int64_t head = 0; head < b->group; head++) {
            int64_t at = (row + head) * b->keys;
            softmax_backward_row(b->weights + at, b->gs + at, b->at[row / b->group] + 1, b->keys);
        }
}

/* out, as q: `left` (rows, keys) times `right` (keys, width), turned back where `turned`. */
CLONES static void write_queries(const attention *s, const block *b, const float *left, const float *right, bf16 *out,
                                 int64_t turned, float factor, int64_t text, int64_t kv) {
    for (int64_t first = 0; first < b->rows; first += ROWS) {
        product(left + first * b->keys, b->keys, 1, right, b->width, b->six, b->width, b->width, 0, seqlen_k(b, first), 0);
        for (int64_t row = first; row < first + ROWS && row < b->rows; row++) {
            int64_t query = row / b->group, head = kv * b->group + row % b->group;
            const float *cosine = turned ? angle(s->cosine, b->at[query], s->dim) : NULL;
            const float *sine = turned ? angle(s->sine, b->at[query], s->dim) : NULL;
            store(b->six + (row - first) * b->width, out + ((s->query_starts[text] + query) * s->heads + head) * s->dim,
                  cosine, sine, factor, s->dim);
        }
    }
}

/* out, as k: `left`ᵀ (keys, rows) times `right` (rows, width), turned back where `turned`. */
CLONES static void write_keys(const attention *s, const block *b, const float *left, const float *right, bf16 *out,
                              int64_t turned, int64_t text, int64_t kv) {
    for (int64_t first = 0; first < b->seen; first += ROWS) {
        product(left + first, 1, b->keys, right, b->width, b->six, b->width, b->width, first_row(b, first), b->rows, 0);
        for (int64_t j = first; j < first + ROWS && j < b->seen; j++) {
            const float *cosine = turned ? angle(s->cosine, j, s->dim) : NULL;
            const float *sine = turned ? angle(s->sine, j, s->dim) : NULL;
            store(b->six + (j - first) * b->width, out + ((s->key_starts[text] + j) * s->kv_heads + kv) * s->dim, cosine,
                  sine, 1.0f, s->dim);
        }
    }
}

/* The block of a text and any kv head, laid out in this thread's scratch (nn/short_attention.py, _room, knows how much). */
static block block_of(const attention *s, int64_t text) {
    int64_t group = s->heads / s->kv_heads, rows = s->query_counts[text] * group, seen = s->key_counts[text];
    int64_t width = round_up(s->dim, LANES), keys = round_up(round_up(seen, ROWS), LANES), padded = round_up(rows, ROWS);
    float *at = s->scratch + omp_get_thread_num() * s->room;
    block b = {.width = width, .keys = keys, .rows = rows, .group = group, .seen = seen,
               .at = s->query_positions + text * s->max_seqlen_q};
    float **parts[] = {&b.q, &b.grad, &b.k, &b.v, &b.kt, &b.vt, &b.weights, &b.gs, &b.six};
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

/* Rows after the last text's become zero. */
static void clear_filler(bf16 *out, const int32_t *starts, const int32_t *counts, int64_t texts, int64_t all,
                         int64_t width) {
    if (out == NULL) return;
    int64_t filled = starts[texts - 1] + counts[texts - 1];
    memset(out + filled * width, 0, (size_t)((all - filled) * width) * sizeof(bf16));
}

static void attend_all(const attention *s, int64_t threads) {
    clear_filler(s->out, s->query_starts, s->query_counts, s->texts, s->all_queries, s->heads * s->dim);
    clear_filler(s->grad_q, s->query_starts, s->query_counts, s->texts, s->all_queries, s->heads * s->dim);
    clear_filler(s->grad_k, s->key_starts, s->key_counts, s->texts, s->all_keys, s->kv_heads * s->dim);
    clear_filler(s->grad_v, s->key_starts, s->key_counts, s->texts, s->all_keys, s->kv_heads * s->dim);
    /* Texts differ in length, so a thread takes the next one when it is done. */
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)threads)
    for (int64_t pair = 0; pair < s->texts * s->kv_heads; pair++) attend(s, pair / s->kv_heads, pair % s->kv_heads);
}

/* out = softmax(scale q kᵀ) v, each text by itself, q and k turned by the angles of their positions where given. */
EXPORT void semtune_attention(const bf16 *q, const bf16 *k, const bf16 *v, bf16 *out, const int32_t *query_starts,
                              const int32_t *query_counts, const int32_t *query_positions, const int32_t *key_starts,
                              const int32_t *key_counts, const float *cosine, const float *sine, float *scratch, float scale,
                              int64_t room, int64_t texts, int64_t heads, int64_t kv_heads, int64_t max_seqlen_q,
                              int64_t dim, int64_t all_queries, int64_t all_keys, int64_t threads) {
    attention s = {q, k, v, NULL, out, NULL, NULL, NULL, query_starts, query_counts, query_positions, key_starts,
                   key_counts, cosine, sine, scratch, scale, room, texts, heads, kv_heads, max_seqlen_q, dim,
                   all_queries, all_keys};
    attend_all(&s, threads);
}

/* The gradients of q, k and v (each where asked for) from `grad`, that of what came out. */
EXPORT void semtune_attention_backward(const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *grad, bf16 *grad_q,
                                       bf16 *grad_k, bf16 *grad_v, const int32_t *query_starts,
                                       const int32_t *query_counts, const int32_t *query_positions,
                                       const int32_t *key_starts, const int32_t *key_counts, const float *cosine,
                                       const float *sine, float *scratch, float scale, int64_t room, int64_t texts,
                                       int64_t heads, int64_t kv_heads, int64_t max_seqlen_q, int64_t dim,
                                       int64_t all_queries, int64_t all_keys, int64_t threads) {
    attention s = {q, k, v, grad, NULL, grad_q, grad_k, grad_v, query_starts, query_counts, query_positions, key_starts,
                   key_counts, cosine, sine, scratch, scale, room, texts, heads, kv_heads, max_seqlen_q, dim,
                   all_queries, all_keys};
    attend_all(&s, threads);
}
