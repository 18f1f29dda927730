/* Dequantises INT4 with a scale and a zero point per group of 32 weights, bitwise equal to nn/int4.py:
 * (code - zero) × scale in fp32, rounded once to the element type. */
#include "four_bit.h"

enum { GROUP = 32 };

typedef struct {
    const uint8_t *codes;
    const bf16 *scales; /* one per group */
    const float *zeros;
    element *out;
} job;

NOINLINE static void fill_groups(const job *of, int64_t first, int64_t last) {
    static const float levels[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int64_t group = first; group < last; group++)
        fill(of->codes + group * (GROUP / 2), table_of(levels, of->zeros[group], from_bf16(of->scales[group])), GROUP,
             of->out + group * GROUP);
}

KERNEL(int4_dequantize)(element *out, const uint8_t *codes, const bf16 *scales, const float *zeros, int64_t groups,
                        int64_t threads) {
    job of = {codes, scales, zeros, out};
    SHARE(groups, threads, fill_groups(&of, first, last));
}
