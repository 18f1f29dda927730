/* Dequantises NF4 with double quantisation, bitwise equal to nn/nf4.py: level × scale in fp32, rounded once to the
 * element type. */
#include "common.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

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

#if defined(__AVX2__)
/* Sixteen codes out of eight bytes, one a byte; the earlier weight is the high half. */
INLINE __m128i sixteen_codes(const uint8_t *codes) {
    __m128i bytes = _mm_loadl_epi64((const __m128i *)codes);
    __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
    return _mm_unpacklo_epi8(high, _mm_and_si128(bytes, _mm_set1_epi8(15)));
}
#endif

#if defined(__AVX512BW__) && defined(__AVX512VL__)

INLINE void store(__m512 values, element *out) {
#ifdef ELEMENT_FP32
    _mm512_storeu_ps(out, values);
#else
    __m512i bits = _mm512_castps_si512(values);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    bits = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    _mm256_storeu_si256((__m256i *)out, _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
#endif
}

/* 64 weights: each half byte picks one of 16 levels out of a register. */
INLINE void fill(const uint8_t *codes, const float *levels, float scale, element *out) {
    __m512 table = _mm512_mul_ps(_mm512_loadu_ps(levels), _mm512_set1_ps(scale));
    for (int part = 0; part < BLOCK / 16; part++) {
        __m512i index = _mm512_cvtepu8_epi32(sixteen_codes(codes + part * 8));
        store(_mm512_permutexvar_ps(index, table), out + part * 16);
    }
}

#elif defined(__AVX2__)

/* Eight values of each of two registers. */
INLINE void store(__m256 first, __m256 second, element *out) {
#ifdef ELEMENT_FP32
    _mm256_storeu_ps(out, first);
    _mm256_storeu_ps(out + 8, second);
#else
    __m256i bits[2] = {_mm256_castps_si256(first), _mm256_castps_si256(second)};
    for (int i = 0; i < 2; i++) {
        __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits[i], 16), _mm256_set1_epi32(1));
        bits[i] = _mm256_add_epi32(bits[i], _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        bits[i] = _mm256_srli_epi32(bits[i], 16);
    }
    __m256i packed = _mm256_packus_epi32(bits[0], bits[1]); /* within each half of 128 bits */
    _mm256_storeu_si256((__m256i *)out, _mm256_permute4x64_epi64(packed, 0xd8));
#endif
}

/* The levels of eight codes: the codes' lowest three bits pick one of eight in each half of the table. */
INLINE __m256 look_up(__m256 lower, __m256 upper, __m128i codes) {
    __m256i index = _mm256_cvtepu8_epi32(codes);
    __m256 is_upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)); /* bit 3 becomes the sign */
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(lower, index), _mm256_permutevar8x32_ps(upper, index), is_upper);
}

INLINE void fill(const uint8_t *codes, const float *levels, float scale, element *out) {
    __m256 factor = _mm256_set1_ps(scale);
    __m256 lower = _mm256_mul_ps(_mm256_loadu_ps(levels), factor);
    __m256 upper = _mm256_mul_ps(_mm256_loadu_ps(levels + 8), factor);
    for (int part = 0; part < BLOCK / 16; part++) {
        __m128i index = sixteen_codes(codes + part * 8);
        store(look_up(lower, upper, index), look_up(lower, upper, _mm_srli_si128(index, 8)), out + part * 16);
    }
}

#else

INLINE void fill(const uint8_t *codes, const float *levels, float scale, element *out) {
    element rounded[16];
    for (int i = 0; i < 16; i++) rounded[i] = downcast(levels[i] * scale);
    for (int i = 0; i < BLOCK / 2; i++) {
        out[2 * i] = rounded[codes[i] >> 4];
        out[2 * i + 1] = rounded[codes[i] & 15];
    }
}

#endif

NOINLINE static void fill_blocks(const job *of, int64_t first, int64_t last) {
    for (int64_t block = first; block < last; block++)
        fill(of->codes + block * (BLOCK / 2), of->levels, scale_of(of, block), of->out + block * BLOCK);
}

/* `blocks` whole blocks of 64 weights; levels (16,), dynamic (256,). */
KERNEL(nf4_dequantize)(element *out, const uint8_t *codes, const uint8_t *scales, const float *nested, float offset,
                       const float *levels, const float *dynamic, int64_t blocks, int64_t threads) {
    job of = {codes, scales, nested, offset, levels, dynamic, out};
    SHARE(blocks, threads, fill_blocks(&of, first, last));
}
