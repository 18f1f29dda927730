/* Shared by the AdamW loops: settings, and the fp32 master weight as a bf16 weight plus 16 residual bits. */
#ifndef SEMTUNE_ADAMW_H
#define SEMTUNE_ADAMW_H

#include <math.h>

#include "common.h"

typedef struct {
    float rate, beta1, beta2, eps, decay; /* decay: 1 - rate · weight decay */
    float first, second;                  /* 1 / (1 - beta1^t), 1 / sqrt(1 - beta2^t) */
    float clip;                           /* the gradient is multiplied by it */
} adamw_settings;

#ifndef ELEMENT_FP32
/* The master's bits: the weight as their upper half, plus the signed residual. */
INLINE float join_master(element weight, int16_t residual) {
    uint32_t bits = ((uint32_t)weight << 16) + (uint32_t)(int32_t)residual;
    float master;
    memcpy(&master, &bits, 4);
    return master;
}

INLINE void split_master(float master, element *weight, int16_t *residual) {
    uint32_t bits;
    memcpy(&bits, &master, 4);
    *weight = (element)((bits + 0x8000u) >> 16);
    *residual = (int16_t)bits;
}
#endif

INLINE float updated(float master, float mean, float square, const adamw_settings *s) {
    return master * s->decay - s->rate * s->first * mean / (sqrtf(square) * s->second + s->eps);
}

#endif
