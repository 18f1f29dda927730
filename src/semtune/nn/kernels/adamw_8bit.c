/* AdamW with 8-bit moments in blocks of 256: dequantise, update, quantise. Formula: training/eight_bit.py. */
#include "adamw.h"

#define BLOCK 256
#define SMALLEST_CELL ((127 - 24) << 7) /* upper 16 bits of 2^-24 */
#define CELLS ((24 << 7) + 1)

typedef struct {
    const float *levels, *middles; /* (256,) each; the last middle is infinite */
    const int32_t *first;          /* (2, CELLS) */
} dynamic_type;

/* The nearest level's code for a quotient in [-1, 1]; `half` is 1 where it may be negative. */
INLINE int32_t nearest(float quotient, const dynamic_type *type) {
    uint32_t bits;
    memcpy(&bits, &quotient, 4);
    int32_t cell = (int32_t)((bits & 0x7fffffffu) >> 16) - SMALLEST_CELL;
    cell = cell < 0 ? 0 : cell;
    int32_t code = type->first[cell + (int32_t)(bits >> 31) * CELLS];
    code += quotient > type->middles[code];
    code += quotient > type->middles[code];
    return code;
}

INLINE void quantize_block(const float *values, uint8_t *codes, float *scale, const dynamic_type *type,
                           int32_t positive) {
    float largest = 0.0f;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < BLOCK; i++) largest = fabsf(values[i]) > largest ? fabsf(values[i]) : largest;
    *scale = largest;
    float divisor = largest > 0.0f ? largest : 1.0f;
#pragma omp simd
    for (int64_t i = 0; i < BLOCK; i++) {
        int32_t code = nearest(values[i] / divisor, type);
        codes[i] = (uint8_t)(positive && code == 0 && values[i] > 0.0f ? 1 : code);
    }
}

typedef struct {
    element *weight;
    int16_t *residual; /* NULL: the weight has no fp32 master beside it, or is fp32 */
    uint8_t *mean_codes;
    float *mean_scales;
    uint8_t *square_codes;
    float *square_scales;
    const element *grad; /* or */
    const float *grad_fp32;
    dynamic_type means, squares;
    adamw_settings settings;
    int64_t count;
} job;

INLINE void update_block(const job *of, int64_t block, int64_t length) {
    float mean[BLOCK] = {0}, square[BLOCK] = {0};
    adamw_settings c = of->settings;
    const uint8_t *mean_codes = of->mean_codes + block * BLOCK, *square_codes = of->square_codes + block * BLOCK;
    float mean_scale = of->mean_scales[block], square_scale = of->square_scales[block];
    element *weight = of->weight + block * BLOCK;
    int16_t *residual = of->residual == NULL ? NULL : of->residual + block * BLOCK;
#pragma omp simd
    for (int64_t i = 0; i < length; i++) {
        float g = (of->grad != NULL ? upcast(of->grad[block * BLOCK + i]) : of->grad_fp32[block * BLOCK + i]) * c.clip;
        mean[i] = c.beta1 * (of->means.levels[mean_codes[i]] * mean_scale) + (1.0f - c.beta1) * g;
        square[i] = c.beta2 * (of->squares.levels[square_codes[i]] * square_scale) + (1.0f - c.beta2) * g * g;
    }
    if (residual == NULL) {
#pragma omp simd
        for (int64_t i = 0; i < length; i++) weight[i] = downcast(updated(upcast(weight[i]), mean[i], square[i], &c));
    }
#ifndef ELEMENT_FP32
    if (residual != NULL) {
#pragma omp simd
        for (int64_t i = 0; i < length; i++)
            split_master(updated(join_master(weight[i], residual[i]), mean[i], square[i], &c), &weight[i],
                         &residual[i]);
    }
#endif
    quantize_block(mean, of->mean_codes + block * BLOCK, of->mean_scales + block, &of->means, 0);
    quantize_block(square, of->square_codes + block * BLOCK, of->square_scales + block, &of->squares, 1);
}

NOINLINE static void adamw_8bit_range(const job *of, int64_t first, int64_t last) {
    for (int64_t block = first; block < last; block++) {
        int64_t left = of->count - block * BLOCK;
        update_block(of, block, left < BLOCK ? left : BLOCK);
    }
}

/* One update of `count` weights; the gradient is bf16 (`grad`) or fp32 (`grad_fp32`), the other NULL. */
KERNEL(adamw_8bit)(element *weight, int16_t *residual, uint8_t *mean_codes, float *mean_scales,
                               uint8_t *square_codes, float *square_scales, const element *grad, const float *grad_fp32,
                               const float *mean_levels, const float *mean_middles, const int32_t *mean_first,
                               const float *square_levels, const float *square_middles, const int32_t *square_first,
                               float rate, float beta1, float beta2, float eps, float decay, float first_factor,
                               float second_factor, float clip, int64_t count, int64_t threads) {
    job of = {weight, residual, mean_codes, mean_scales, square_codes, square_scales, grad, grad_fp32,
              {mean_levels, mean_middles, mean_first}, {square_levels, square_middles, square_first},
              {rate, beta1, beta2, eps, decay, first_factor, second_factor, clip}, count};
    int64_t blocks = (count + BLOCK - 1) / BLOCK;
    SHARE(blocks, threads, adamw_8bit_range(&of, first, last));
}
