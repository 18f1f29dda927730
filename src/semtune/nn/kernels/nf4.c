/* Dequantises NF4 with double quantisation to bf16, bitwise equal to nn/nf4.py: level × scale in fp32, rounded once. */
#include "common.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { BLOCK = 64, NESTED = 256 };

/* A block's scale: level of its 8-bit code × scale of scales + offset. */
INLINE float scale_of(int64_t block, const uint8_t *scales, const float *nested, float offset, const float *dynamic) {
    float scaled = dynamic[scales[block]] * nested[block / NESTED];
    __asm__("" : "+m"(scaled)); /* rounds before the addition: no fused multiply-add, or bits differ from torch's */
    return scaled + offset;
}

#if defined(__x86_64__)
/* 64 weights: each half byte picks one of 16 levels out of a register. */
__attribute__((target("avx512f,avx512bw,avx512vl"))) static void block_v4(const uint8_t *codes, __m512 levels, float scale,
                                                                          bf16 *out) {
    __m512 factor = _mm512_set1_ps(scale);
    for (int quarter = 0; quarter < 4; quarter++) {
        __m128i bytes = _mm_loadl_epi64((const __m128i *)(codes + quarter * 8));
        __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
        __m128i low = _mm_and_si128(bytes, _mm_set1_epi8(15));
        __m512i index = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(high, low)); /* the earlier weight is the high half */
        __m512i bits = _mm512_castps_si512(_mm512_mul_ps(_mm512_permutexvar_ps(index, levels), factor));
        __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        bits = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        _mm256_storeu_si256((__m256i *)(out + quarter * 16), _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
    }
}

__attribute__((target("avx512f,avx512bw,avx512vl"))) static void blocks_v4(const uint8_t *codes, const uint8_t *scales,
                                                                           const float *nested, float offset,
                                                                           const float *levels, const float *dynamic,
                                                                           bf16 *out, int64_t first, int64_t last) {
    __m512 table = _mm512_loadu_ps(levels);
    for (int64_t block = first; block < last; block++)
        block_v4(codes + block * (BLOCK / 2), table, scale_of(block, scales, nested, offset, dynamic), out + block * BLOCK);
}
#endif

static void blocks_plain(const uint8_t *codes, const uint8_t *scales, const float *nested, float offset,
                         const float *levels, const float *dynamic, bf16 *out, int64_t first, int64_t last) {
    for (int64_t block = first; block < last; block++) {
        float scale = scale_of(block, scales, nested, offset, dynamic);
        bf16 rounded[16];
        for (int i = 0; i < 16; i++) rounded[i] = downcast(levels[i] * scale);
        for (int i = 0; i < BLOCK / 2; i++) {
            uint8_t byte = codes[block * (BLOCK / 2) + i];
            out[block * BLOCK + 2 * i] = rounded[byte >> 4];
            out[block * BLOCK + 2 * i + 1] = rounded[byte & 15];
        }
    }
}

/* `blocks` whole blocks of 64 weights; levels (16,), dynamic (256,). */
EXPORT void semtune_nf4_dequantize(const uint8_t *codes, const uint8_t *scales, const float *nested, float offset,
                                   const float *levels, const float *dynamic, bf16 *out, int64_t blocks, int64_t threads) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
        SHARE(blocks, threads, blocks_v4(codes, scales, nested, offset, levels, dynamic, out, first, last));
        return;
    }
#endif
    SHARE(blocks, threads, blocks_plain(codes, scales, nested, offset, levels, dynamic, out, first, last));
}
