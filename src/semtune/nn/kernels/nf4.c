/* Dequantises NF4 with double quantisation, bitwise equal to nn/nf4.py: level × scale in fp32, rounded once to the
 * element type. */
#include "four_bit.h"

enum { BLOCK = 64, NESTED = 256 };

typedef struct {
    const uint8_t *codes, *scales; /* two weights a byte, the earlier in the high half; a byte per block */
    const float *nested;           /* a scale of scales per NESTED blocks */
    float offset;                  /* the mean of the blocks' scales */
    const float *levels, *dynamic; /* (16,), (256,) */
    element *out;
} job;

/* A block's scale: level of its 8-bit code × scale of scales + offset. */
INLINE float scale_of(const job *of, int64_t block) {
    float scaled = of->dynamic[of->scales[block]] * of->nested[block / NESTED];
    __asm__("" : "+m"(scaled)); /* rounds before the addition: no fused multiply-add, or bits differ from torch's */
    return scaled + of->offset;
}

NOINLINE static void fill_blocks(const job *of, int64_t first, int64_t last) {
    for (int64_t block = first; block < last; block++)
        fill(of->codes + block * (BLOCK / 2), table_of(of->levels, 0.0f, scale_of(of, block)), BLOCK,
             of->out + block * BLOCK);
}

/* `blocks` whole blocks of 64 weights; levels (16,), dynamic (256,). */
KERNEL(nf4_dequantize)(element *out, const uint8_t *codes, const uint8_t *scales, const float *nested, float offset,
                       const float *levels, const float *dynamic, int64_t blocks, int64_t threads) {
    job of = {codes, scales, nested, offset, levels, dynamic, out};
    SHARE(blocks, threads, fill_blocks(&of, first, last));
}
