/* Dropout whose mask is a function of a seed: nothing is kept, backward makes it again. Formula: nn/dropout.py. */
#include "common.h"

#define GOLDEN 0x9e3779b97f4a7c15ull

/* SplitMix64's output number `index` (Steele, Lea & Flood 2014). */
INLINE uint64_t draw(uint64_t seed, uint64_t index) {
    uint64_t z = seed + index * GOLDEN;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

enum { GROUP = 128 };

/* Four 16-bit numbers a draw, the lowest bits first: 0xffff where an element is kept. */
INLINE void masks(uint64_t seed, int64_t element, uint32_t threshold, uint16_t *mask) {
    uint64_t draws[GROUP / 4];
    for (int i = 0; i < GROUP / 4; i++) draws[i] = draw(seed, (uint64_t)(element / 4 + i));
    uint16_t lanes[GROUP];
    memcpy(lanes, draws, sizeof lanes);
    for (int i = 0; i < GROUP; i++) mask[i] = lanes[i] >= (uint16_t)threshold ? 0xffff : 0;
}

CLONES static void dropout_groups(const bf16 *x, bf16 *out, int64_t count, uint64_t seed, uint32_t threshold,
                                  int64_t first, int64_t last) {
    for (int64_t group = first; group < last; group++) {
        uint16_t mask[GROUP];
        int64_t at = group * GROUP, n = count - at < GROUP ? count - at : GROUP;
        masks(seed, at, threshold, mask);
        if (n == GROUP)
            for (int i = 0; i < GROUP; i++) out[at + i] = x[at + i] & mask[i];
        else
            for (int i = 0; i < n; i++) out[at + i] = x[at + i] & mask[i];
    }
}

/* out = x where kept, else 0. An element is dropped when its 16 bits are below `threshold` (at most 65535). */
EXPORT void semtune_dropout(const bf16 *x, bf16 *out, int64_t count, uint64_t seed, uint32_t threshold, int64_t threads) {
    int64_t groups = (count + GROUP - 1) / GROUP;
    SHARE(groups, threads, dropout_groups(x, out, count, seed, threshold, first, last));
}

CLONES static void add_kept_groups(bf16 *total, const bf16 *more, int64_t count, uint64_t seed, uint32_t threshold,
                                   int64_t first, int64_t last) {
    for (int64_t group = first; group < last; group++) {
        uint16_t mask[GROUP];
        int64_t at = group * GROUP, n = count - at < GROUP ? count - at : GROUP;
        masks(seed, at, threshold, mask);
        if (n == GROUP)
            for (int i = 0; i < GROUP; i++)
                total[at + i] = narrow(widen(total[at + i]) + widen((bf16)(more[at + i] & mask[i])));
        else
            for (int i = 0; i < n; i++)
                total[at + i] = narrow(widen(total[at + i]) + widen((bf16)(more[at + i] & mask[i])));
    }
}

/* total += more where kept. */
EXPORT void semtune_add_kept(bf16 *total, const bf16 *more, int64_t count, uint64_t seed, uint32_t threshold,
                             int64_t threads) {
    int64_t groups = (count + GROUP - 1) / GROUP;
    SHARE(groups, threads, add_kept_groups(total, more, count, seed, threshold, first, last));
}
