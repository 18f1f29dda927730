/* What all kernels share: bf16, exp, threads.
 *
 * Every kernel is plain C that the compiler vectorises. setup.py compiles each file once per element type and instruction
 * level, so one library runs on every machine of its architecture: ELEMENT_FP32 selects the type, SUFFIX ends the
 * exported names, and the compiler's flags set the level. nn/kernels/__init__.py picks the level at run time.
 *
 * Large matrix products stay with libraries, fp32 ones (product.c) where these are slow; the kernels do what comes between
 * them. They compute in fp32 and round each result once.
 */
#ifndef SEMTUNE_COMMON_H
#define SEMTUNE_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#define THREAD_INDEX omp_get_thread_num()
#else /* one thread runs every loop */
#define THREAD_INDEX 0
#endif

typedef uint16_t bf16;

#define INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
/* The head of an exported kernel, for example semtune_norm_fp32_avx2. */
#define EXPORT __attribute__((visibility("default")))
#define KERNEL(name) EXPORT void PASTE(semtune_##name, SUFFIX)

INLINE float from_bf16(bf16 value) {
    uint32_t bits = (uint32_t)value << 16;
    float out;
    memcpy(&out, &bits, 4);
    return out;
}

/* Rounds to the nearest bf16, ties to even, like torch. */
INLINE bf16 to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (bf16)((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

/* An element of activations, weights and their gradients; MASKED is the element where the 16-bit mask is set, else 0. */
#ifdef ELEMENT_FP32
typedef float element;
INLINE float upcast(element value) { return value; }
INLINE element downcast(float value) { return value; }
#define MASKED(value, mask) ((mask) ? (value) : 0.0f)
#else
typedef bf16 element;
INLINE float upcast(element value) { return from_bf16(value); }
INLINE element downcast(float value) { return to_bf16(value); }
#define MASKED(value, mask) ((element)((value) & (mask)))
#endif

/* e^x to about 2 units in the last place of fp32; 0 far below, finite far above (Cody & Waite's reduction). */
INLINE float exp_of(float x) {
    x = x < -87.3f ? -87.3f : (x > 88.0f ? 88.0f : x);
    float shifted = x * 1.44269504f + 12582912.0f; /* 1.5 · 2^23: the sum's low bits are the nearest integer */
    float n = shifted - 12582912.0f;
    float r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t exponent = ((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &exponent, 4);
    return p * power;
}

/* Divides `count` items among threads; `call` runs once per thread for its items `first` to `last` (exclusive). */
#define SHARE(count, threads, call)                                                              \
    do {                                                                                         \
        int64_t parts = (threads) < (count) ? (threads) : (count);                               \
        _Pragma("omp parallel for schedule(static, 1) num_threads((int)(parts > 0 ? parts : 1))") \
        for (int64_t part = 0; part < parts; part++) {                                           \
            int64_t first = (count) * part / parts, last = (count) * (part + 1) / parts;         \
            call;                                                                                \
        }                                                                                        \
    } while (0)

#endif
