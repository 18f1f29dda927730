/* What the AdamW loops share: settings, and a bf16 weight as the upper half of its fp32 master. */
#ifndef SEMTUNE_ADAMW_H
#define SEMTUNE_ADAMW_H

#include <math.h>

#include "common.h"

typedef struct {
    float rate, beta1, beta2, eps, decay; /* decay: 1 - rate · weight decay */
    float first, second;                  /* 1 / (1 - beta1^t), 1 / sqrt(1 - beta2^t) */
    float clip;                           /* the gradient is multiplied by it */
} adamw_settings;

/* The master's bits are the weight's, as the upper half, plus a remainder of 16 bits with a sign. */
INLINE float joined(bf16 weight, int16_t rest) {
    uint32_t bits = ((uint32_t)weight << 16) + (uint32_t)(int32_t)rest;
    float master;
    memcpy(&master, &bits, 4);
    return master;
}

INLINE void part_from(float master, bf16 *weight, int16_t *rest) {
    uint32_t bits;
    memcpy(&bits, &master, 4);
    *weight = (bf16)((bits + 0x8000u) >> 16);
    *rest = (int16_t)bits;
}

INLINE float updated(float master, float mean, float square, const adamw_settings *s) {
    return master * s->decay - s->rate * s->first * mean / (sqrtf(square) * s->second + s->eps);
}

#endif
