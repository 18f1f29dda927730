/* Matrix products of a low-rank adapter, forward and backward, in one pass over the rows. Formulas:
 * nn/low_rank_products.py.
 *
 * At a rank of 8 memory bandwidth bounds them: each row of x, y and their gradients is read once, the dropout mask is
 * computed on the way, and all sums are fp32.
 */

#include "mask.h"
#include "matmul.h"

enum { BLOCK = 8 * ROWS }; /* rows that are added to the adapter's gradients at once */

typedef struct {
    const element *x, *grad_y; /* (rows, in), (rows, out); grad_y NULL in the forward */
    const float *a, *b;     /* (rank, in), (out, rank) */
    element *y, *grad_x;       /* added to; grad_x may be NULL */
    float *inner;           /* (rows + 1, padded): scale · A drop(x), in the columns up to rank */
    float *grad_a, *grad_b; /* as a, b; each may be NULL */
    float *scratch;         /* see `_scratch_floats` in kernels/training_operators.py */
    float scale;
    uint64_t seed;
    uint32_t threshold; /* 0: nothing is dropped */
    int64_t rows, in, out, rank, padded;
    int64_t lanes; /* the rank rounded up to LANES */
    const float *transposed_a; /* scale · Aᵀ (in, padded); NULL in the backward */
    const float *transposed_b; /* Bᵀ (rank, out); in the backward scale · B (out, padded) */
} adapter;

/* Scratch memory of one thread. */
typedef struct {
    float *x, *grad_y, *grad_inner; /* (BLOCK, in), (BLOCK, out), (BLOCK, padded) */
    float *six_rows;                     /* (6, in or out) */
    float *grad_a, *grad_b;         /* (rank rounded up to ROWS, in or out): sums over the thread's rows; grad_b transposed */
    uint16_t *mask;                 /* (BLOCK, in) */
} thread_buffers;

INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static thread_buffers buffers_of(const adapter *s, int64_t thread) {
    int64_t rank = round_up(s->rank, ROWS);
    int64_t sizes[] = {BLOCK * s->in, BLOCK * s->out, BLOCK * s->padded, ROWS * larger(s->in, s->out),
                       rank * s->in,  rank * s->out,  BLOCK * s->in / 2};
    int64_t scratch_floats = 0;
    for (int i = 0; i < 7; i++) scratch_floats += sizes[i];
    float *at = s->scratch + s->padded * (s->in + s->out) + thread * scratch_floats;
    thread_buffers o;
    float **parts[] = {&o.x, &o.grad_y, &o.grad_inner, &o.six_rows, &o.grad_a, &o.grad_b};
    for (int i = 0; i < 6; i++) {
        *parts[i] = at;
        at += sizes[i];
    }
    o.mask = (uint16_t *)at;
    return o;
}

/* Rows `first` to `last` of out (.., width) = in (columns, rows)ᵀ times factor; zero beyond `columns`. */
NOINLINE static void transpose(const float *in, float *out, float factor, int64_t rows, int64_t columns, int64_t width,
                               int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i++) {
        for (int64_t j = 0; j < columns; j++) out[i * width + j] = factor * in[j * rows + i];
        for (int64_t j = columns; j < width; j++) out[i * width + j] = 0.0f;
    }
}

/* The mask of `count` elements from element `first` on. */
NOINLINE static void make_mask(const adapter *s, uint16_t *out, int64_t first, int64_t count) {
    for (int64_t at = first / GROUP * GROUP; at < first + count; at += GROUP) {
        if (at >= first && at + GROUP <= first + count) {
            masks(s->seed, at, s->threshold, out + (at - first));
            continue;
        }
        uint16_t mask[GROUP];
        masks(s->seed, at, s->threshold, mask);
        int64_t from = larger(first, at), to = first + count < at + GROUP ? first + count : at + GROUP;
        memcpy(out + (from - first), mask + (from - at), (size_t)(to - from) * sizeof(uint16_t));
    }
}

/* `rows` rows of in (.., width) as fp32, under the mask if any, and zeros up to whole ROWS: in `out`, or where they lie. */
NOINLINE static const float *upcast_rows(const element *in, const uint16_t *mask, float *out, int64_t rows, int64_t width) {
    int64_t count = rows * width;
    if (mask != NULL) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++) out[i] = upcast(MASKED(in[i], mask[i]));
    } else {
#ifdef ELEMENT_FP32
        if (rows % ROWS == 0) return in;
#endif
#pragma omp simd
        for (int64_t i = 0; i < count; i++) out[i] = upcast(in[i]);
    }
    memset(out + count, 0, (size_t)(round_up(rows, ROWS) * width - count) * sizeof(float));
    return out;
}

/* total (rows, width) += left (rows, rank) · right (rank, width), under the mask if any; left has whole ROWS. */
NOINLINE static void add_matmul(const adapter *s, const float *left, const float *right, float *six_rows,
                              const uint16_t *mask, element *total, int64_t rows, int64_t width) {
    for (int64_t first = 0; first < rows; first += ROWS) {
        element *at = total + first * width;
#ifdef ELEMENT_FP32
        if (mask == NULL && rows - first >= ROWS) {
            matmul(left + first * s->padded, s->padded, 1, right, width, at, width, width, 0, s->rank, 1);
            continue;
        }
#endif
        matmul(left + first * s->padded, s->padded, 1, right, width, six_rows, width, width, 0, s->rank, 0);
        int64_t count = (rows - first < ROWS ? rows - first : ROWS) * width;
        if (mask != NULL) {
            const uint16_t *kept = mask + first * width;
#pragma omp simd
            for (int64_t i = 0; i < count; i++) at[i] = downcast(upcast(at[i]) + (kept[i] ? six_rows[i] : 0.0f));
        } else {
#pragma omp simd
            for (int64_t i = 0; i < count; i++) at[i] = downcast(upcast(at[i]) + six_rows[i]);
        }
    }
}

static const uint16_t *masked(const adapter *s, const thread_buffers *o, int64_t first, int64_t rows) {
    if (s->threshold == 0) return NULL;
    make_mask(s, o->mask, first * s->in, rows * s->in);
    return o->mask;
}

/* At most BLOCK rows. */
static void forward_rows(const adapter *s, const thread_buffers *o, int64_t first, int64_t rows) {
    const float *x = upcast_rows(s->x + first * s->in, masked(s, o, first, rows), o->x, rows, s->in);
    float *six_rows = o->grad_inner; /* unused in the forward; its columns beyond the rank stay 0 */
    for (int64_t row = 0; row < rows; row += ROWS) {
        int64_t count = rows - row < ROWS ? rows - row : ROWS;
        matmul(x + row * s->in, s->in, 1, s->transposed_a, s->padded, six_rows, s->padded, s->lanes, 0, s->in, 0);
        memcpy(s->inner + (first + row) * s->padded, six_rows, (size_t)(count * s->padded) * sizeof(float));
        add_matmul(s, six_rows, s->transposed_b, o->six_rows, NULL, s->y + (first + row) * s->out, count, s->out);
    }
}

/* At most BLOCK rows; their gradients of A and B are added to those of the thread, or replace them. */
static void backward_rows(const adapter *s, const thread_buffers *o, int64_t first, int64_t rows, int64_t add) {
    const float *grad_y = upcast_rows(s->grad_y + first * s->out, NULL, o->grad_y, rows, s->out), *x = NULL;
    for (int64_t row = 0; row < rows; row += ROWS)
        matmul(grad_y + row * s->out, s->out, 1, s->transposed_b, s->padded, o->grad_inner + row * s->padded, s->padded,
               s->lanes, 0, s->out, 0);
    const uint16_t *mask = s->grad_a != NULL || s->grad_x != NULL ? masked(s, o, first, rows) : NULL;
    if (s->grad_a != NULL) x = upcast_rows(s->x + first * s->in, mask, o->x, rows, s->in);
    for (int64_t i = 0; i < s->rank; i += ROWS) { /* (rank, rows) x (rows, in or out) */
        if (s->grad_b != NULL)
            matmul(s->inner + first * s->padded + i, 1, s->padded, grad_y, s->out, o->grad_b + i * s->out, s->out, s->out,
                   0, rows, add);
        if (s->grad_a != NULL)
            matmul(o->grad_inner + i, 1, s->padded, x, s->in, o->grad_a + i * s->in, s->in, s->in, 0, rows, add);
    }
    if (s->grad_x != NULL)
        add_matmul(s, o->grad_inner, s->a, o->six_rows, mask, s->grad_x + first * s->in, rows, s->in);
}

/* Runs the rows `first` to `last` in one thread. */
static void run(const adapter *s, int64_t thread, int64_t first, int64_t last) {
    thread_buffers o = buffers_of(s, thread);
    memset(o.grad_inner, 0, (size_t)(BLOCK * s->padded) * sizeof(float));
    for (int64_t row = first; row < last; row += BLOCK) {
        int64_t rows = last - row < BLOCK ? last - row : BLOCK;
        if (s->grad_y == NULL)
            forward_rows(s, &o, row, rows);
        else
            backward_rows(s, &o, row, rows, row > first);
    }
}

/* Divides the rows among threads in groups of ROWS; returns the number of threads used. */
static int64_t run_all(const adapter *s, int64_t threads) {
    int64_t groups = (s->rows + ROWS - 1) / ROWS, used = threads < groups ? threads : groups;
    SHARE(groups, threads, run(s, part, first * ROWS, last * ROWS < s->rows ? last * ROWS : s->rows));
    return used;
}

/* y += scale · B A drop(x), and `inner` for the backward. */
KERNEL(low_rank)(const element *x, const float *a, const float *b, element *y, float *inner, float *scratch,
                             float scale, uint64_t seed, uint32_t threshold, int64_t rows, int64_t in, int64_t out,
                             int64_t rank, int64_t padded, int64_t threads) {
    float *transposed_a = scratch, *transposed_b = scratch + in * padded;
    SHARE(in, threads, transpose(a, transposed_a, scale, in, rank, padded, first, last));
    SHARE(rank, threads, transpose(b, transposed_b, 1.0f, rank, out, out, first, last));
    adapter s = {.x = x, .a = a, .b = b, .y = y, .inner = inner, .scratch = scratch, .scale = scale, .seed = seed,
                 .threshold = threshold, .rows = rows, .in = in, .out = out, .rank = rank, .padded = padded,
                 .lanes = round_up(rank, LANES), .transposed_a = transposed_a, .transposed_b = transposed_b};
    run_all(&s, threads);
}

NOINLINE static void scale_padded(const float *b, float *out, float factor, int64_t rows, int64_t columns, int64_t width) {
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) out[i * width + j] = factor * b[i * columns + j];
        for (int64_t j = columns; j < width; j++) out[i * width + j] = 0.0f;
    }
}

/* Adds up the threads' gradients in a fixed order; in one thread, as each would read what the others wrote. */
NOINLINE static void gather_a(const adapter *s, int64_t parts) {
    for (int64_t part = 0; part < parts; part++) {
        const float *grad_a = buffers_of(s, part).grad_a;
        for (int64_t i = 0; i < s->rank * s->in; i++) s->grad_a[i] = (part ? s->grad_a[i] : 0.0f) + grad_a[i];
    }
}

NOINLINE static void gather_b(const adapter *s, int64_t parts) {
    for (int64_t part = 0; part < parts; part++) {
        const float *grad_b = buffers_of(s, part).grad_b;
        for (int64_t i = 0; i < s->out; i++) {
            float *total = s->grad_b + i * s->rank;
            for (int64_t j = 0; j < s->rank; j++) total[j] = (part ? total[j] : 0.0f) + grad_b[j * s->out + i];
        }
    }
}

/* Writes grad_a and grad_b and adds to grad_x; each may be NULL. */
KERNEL(low_rank_backward)(const element *x, const float *a, const float *b, const element *grad_y, float *inner,
                                      element *grad_x, float *grad_a, float *grad_b, float *scratch, float scale,
                                      uint64_t seed, uint32_t threshold, int64_t rows, int64_t in, int64_t out,
                                      int64_t rank, int64_t padded, int64_t threads) {
    float *transposed_b = scratch + in * padded;
    scale_padded(b, transposed_b, scale, out, rank, padded);
    adapter s = {.x = x, .grad_y = grad_y, .a = a, .b = b, .inner = inner, .grad_x = grad_x, .grad_a = grad_a,
                 .grad_b = grad_b, .scratch = scratch, .scale = scale, .seed = seed, .threshold = threshold, .rows = rows,
                 .in = in, .out = out, .rank = rank, .padded = padded, .lanes = round_up(rank, LANES),
                 .transposed_b = transposed_b};
    int64_t used = run_all(&s, threads);
    if (grad_a != NULL) gather_a(&s, used);
    if (grad_b != NULL) gather_b(&s, used);
}
