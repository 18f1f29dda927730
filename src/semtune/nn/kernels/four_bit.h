/* Dequantises 4-bit codes: each half byte picks one of 16 values out of registers. Two weights a byte, the earlier in
 * the high half. */
#ifndef SEMTUNE_FOUR_BIT_H
#define SEMTUNE_FOUR_BIT_H

#include "common.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX2__)
/* Sixteen codes out of eight bytes, one a byte; the earlier weight is the high half. */
INLINE __m128i sixteen_codes(const uint8_t *codes) {
    __m128i bytes = _mm_loadl_epi64((const __m128i *)codes);
    __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
    return _mm_unpacklo_epi8(high, _mm_and_si128(bytes, _mm_set1_epi8(15)));
}
#endif

/* `table_of` computes (level - zero) × scale of the 16 levels; `fill` writes `count` of them, a multiple of 16. */

#if defined(__AVX512BW__) && defined(__AVX512VL__)

typedef __m512 level_table;

INLINE level_table table_of(const float *levels, float zero, float scale) {
    return _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(levels), _mm512_set1_ps(zero)), _mm512_set1_ps(scale));
}

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

INLINE void fill(const uint8_t *codes, level_table table, int count, element *out) {
    for (int i = 0; i < count; i += 16) {
        __m512i index = _mm512_cvtepu8_epi32(sixteen_codes(codes + i / 2));
        store(_mm512_permutexvar_ps(index, table), out + i);
    }
}

#elif defined(__AVX2__)

typedef struct {
    __m256 lower, upper;
} level_table;

INLINE level_table table_of(const float *levels, float zero, float scale) {
    __m256 offset = _mm256_set1_ps(zero), factor = _mm256_set1_ps(scale);
    level_table table = {_mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(levels), offset), factor),
                         _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(levels + 8), offset), factor)};
    return table;
}

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
INLINE __m256 look_up(level_table table, __m128i codes) {
    __m256i index = _mm256_cvtepu8_epi32(codes);
    __m256 is_upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)); /* bit 3 becomes the sign */
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.lower, index), _mm256_permutevar8x32_ps(table.upper, index),
                            is_upper);
}

INLINE void fill(const uint8_t *codes, level_table table, int count, element *out) {
    for (int i = 0; i < count; i += 16) {
        __m128i index = sixteen_codes(codes + i / 2);
        store(look_up(table, index), look_up(table, _mm_srli_si128(index, 8)), out + i);
    }
}

#else

typedef struct {
    element values[16];
} level_table;

INLINE level_table table_of(const float *levels, float zero, float scale) {
    level_table table;
    for (int i = 0; i < 16; i++) table.values[i] = downcast((levels[i] - zero) * scale);
    return table;
}

INLINE void fill(const uint8_t *codes, level_table table, int count, element *out) {
    for (int i = 0; i < count / 2; i++) {
        out[2 * i] = table.values[codes[i] >> 4];
        out[2 * i + 1] = table.values[codes[i] & 15];
    }
}

#endif

#endif
