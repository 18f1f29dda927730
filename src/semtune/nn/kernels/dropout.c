/* Dropout whose mask is a function of a seed, so that backward computes it again. Formula: nn/dropout.py. */
#include "mask.h"

NOINLINE static void dropout_groups(const element *x, element *out, int64_t count, uint64_t seed, uint32_t threshold,
                                  int64_t first, int64_t last) {
    for (int64_t group = first; group < last; group++) {
        uint16_t mask[GROUP];
        int64_t at = group * GROUP, n = count - at < GROUP ? count - at : GROUP;
        masks(seed, at, threshold, mask);
        if (n == GROUP)
            for (int i = 0; i < GROUP; i++) out[at + i] = MASKED(x[at + i], mask[i]);
        else
            for (int i = 0; i < n; i++) out[at + i] = MASKED(x[at + i], mask[i]);
    }
}

/* out = x where kept, else 0. An element is dropped when its 16 bits are below `threshold` (at most 65535). */
KERNEL(dropout)(const element *x, element *out, int64_t count, uint64_t seed, uint32_t threshold, int64_t threads) {
    int64_t groups = (count + GROUP - 1) / GROUP;
    SHARE(groups, threads, dropout_groups(x, out, count, seed, threshold, first, last));
}

NOINLINE static void add_kept_groups(element *total, const element *more, int64_t count, uint64_t seed, uint32_t threshold,
                                   int64_t first, int64_t last) {
    for (int64_t group = first; group < last; group++) {
        uint16_t mask[GROUP];
        int64_t at = group * GROUP, n = count - at < GROUP ? count - at : GROUP;
        masks(seed, at, threshold, mask);
        if (n == GROUP)
            for (int i = 0; i < GROUP; i++)
                total[at + i] = downcast(upcast(total[at + i]) + upcast(MASKED(more[at + i], mask[i])));
        else
            for (int i = 0; i < n; i++)
                total[at + i] = downcast(upcast(total[at + i]) + upcast(MASKED(more[at + i], mask[i])));
    }
}

/* total += more where kept. */
KERNEL(add_kept)(element *total, const element *more, int64_t count, uint64_t seed, uint32_t threshold,
                             int64_t threads) {
    int64_t groups = (count + GROUP - 1) / GROUP;
    SHARE(groups, threads, add_kept_groups(total, more, count, seed, threshold, first, last));
}
