/* The dropout mask of a seed. Formula: nn/dropout.py. */
#ifndef SEMTUNE_MASK_H
#define SEMTUNE_MASK_H

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

#endif
