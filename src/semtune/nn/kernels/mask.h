/* The dropout mask of a seed. Formula: nn/dropout.py. */
#ifndef SEMTUNE_MASK_H
#define SEMTUNE_MASK_H

#include "common.h"

#define GOLDEN 0x9e3779b97f4a7c15ull

enum { GROUP = 128 };

/* What SplitMix64's state grows by in 0 to 31 draws: constants, as AVX2 has no product of 64-bit integers. */
#define STEPS_4(i) (i) * GOLDEN, ((i) + 1) * GOLDEN, ((i) + 2) * GOLDEN, ((i) + 3) * GOLDEN
#define STEPS_16(i) STEPS_4(i), STEPS_4((i) + 4), STEPS_4((i) + 8), STEPS_4((i) + 12)
static const uint64_t STEPS[GROUP / 4] = {STEPS_16(0), STEPS_16(16)};

/* SplitMix64's output for a state (Steele, Lea & Flood 2014). */
INLINE uint64_t mixed(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* The mask of GROUP elements: 0xffff where one is kept. Four 16-bit numbers a draw, the lowest bits first. */
INLINE void masks(uint64_t seed, int64_t element, uint32_t threshold, uint16_t *mask) {
    uint64_t draws[GROUP / 4], start = seed + (uint64_t)(element / 4) * GOLDEN;
    for (int i = 0; i < GROUP / 4; i++) draws[i] = mixed(start + STEPS[i]);
    uint16_t lanes[GROUP];
    memcpy(lanes, draws, sizeof lanes);
    for (int i = 0; i < GROUP; i++) mask[i] = lanes[i] >= (uint16_t)threshold ? 0xffff : 0;
}

#endif
