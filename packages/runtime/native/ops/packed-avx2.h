/**
 * The kernels of packed-kernels.h in AVX2, which every x86 server since 2015 has: 32 bytes at a time.
 *
 * vpmaddubsw multiplies 32 unsigned bytes by 32 signed ones and adds neighbours, to 16 sums of 16 bits. A panel has a
 * row in each 4 bytes: two sums belong to one row, and need no more adding up until the block ends.
 *
 *     4 bytes of a row     q0 q1 q2 q3       unsigned, 0..15
 *     4 bytes of x       · x0 x1 x2 x3       signed, the same for all rows: one broadcast
 *                        = q0x0+q1x1 , q2x2+q3x3                          |sum| ≤ 2 · 15 · 127 = 3810
 *
 * 8 of these make a block of Q40: 30,480 at most, which 16 bits still hold. So a block costs 8 vpmaddubsw, 8 additions
 * and one vpmaddwd, which adds the pairs, for 8 rows: the processor's limit is the multiplier, 32 products a turn.
 * Q80 has bytes from -128 to 127 on both sides: |q_w| times x with q_w's sign, and each sum widened at once.
 */
#pragma once
#include "packed-kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define FOURFOLD_AVX2 __attribute__((target("avx2,fma,f16c")))
#define FOURFOLD_AVX2_INLINE static inline __attribute__((always_inline, target("avx2,fma,f16c")))

namespace fourfold {
namespace avx2 {

FOURFOLD_AVX2_INLINE __m256i At(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }

/** 8 scales of 16 rows: the lower or upper half of them. */
FOURFOLD_AVX2_INLINE __m256 Scales(const uint8_t* from, int half) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from) + half));
}

/** 4 bytes of x for every row. */
FOURFOLD_AVX2_INLINE __m256i Four(const int8_t* q) { return _mm256_set1_epi32(Load<int32_t>(q)); }

/** Pairs of 16 bits added, for each of 8 rows. */
FOURFOLD_AVX2_INLINE __m256i Pairs(__m256i sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }

/** s of R rows of x and 16 rows of w: a block of 4 bits a number, without the offset. */
template <int R>
FOURFOLD_AVX2_INLINE void NibbleSums(const uint8_t* numbers, const int8_t* const* q, __m256i (*s)[2]) {
    const __m256i low = _mm256_set1_epi8(15);
    for (int n = 0; n < R; n++) s[n][0] = s[n][1] = _mm256_setzero_si256();
    for (int t = 0; t < 4; t++) {
        const __m256i w0 = At(numbers + 64 * t), w1 = At(numbers + 64 * t + 32);
        const __m256i low0 = _mm256_and_si256(w0, low), low1 = _mm256_and_si256(w1, low);
        const __m256i high0 = _mm256_and_si256(_mm256_srli_epi16(w0, 4), low);
        const __m256i high1 = _mm256_and_si256(_mm256_srli_epi16(w1, 4), low);
        for (int n = 0; n < R; n++) {
            const __m256i a = Four(q[n] + 4 * t), b = Four(q[n] + 16 + 4 * t);
            s[n][0] = _mm256_add_epi16(s[n][0], _mm256_maddubs_epi16(low0, a));
            s[n][1] = _mm256_add_epi16(s[n][1], _mm256_maddubs_epi16(low1, a));
            s[n][0] = _mm256_add_epi16(s[n][0], _mm256_maddubs_epi16(high0, b));
            s[n][1] = _mm256_add_epi16(s[n][1], _mm256_maddubs_epi16(high1, b));
        }
    }
    for (int n = 0; n < R; n++)
        for (int half = 0; half < 2; half++) s[n][half] = Pairs(s[n][half]);
}

/** The same of Q80. */
template <int R>
FOURFOLD_AVX2_INLINE void ByteSums(const uint8_t* numbers, const int8_t* const* q, __m256i (*s)[2]) {
    for (int n = 0; n < R; n++) s[n][0] = s[n][1] = _mm256_setzero_si256();
    for (int t = 0; t < 8; t++)
        for (int half = 0; half < 2; half++) {
            const __m256i w = At(numbers + 64 * t + 32 * half), size = _mm256_abs_epi8(w);
            for (int n = 0; n < R; n++) {
                const __m256i x = _mm256_sign_epi8(Four(q[n] + 4 * t), w);
                s[n][half] = _mm256_add_epi32(s[n][half], Pairs(_mm256_maddubs_epi16(size, x)));
            }
        }
}

template <Format F, int R>
FOURFOLD_AVX2 void IntegerTile(const uint8_t* panel, const Rounded& x, int64_t first, float* y) {
    const int8_t* q[R];
    for (int n = 0; n < R; n++) q[n] = x.Q(first + n);
    for (int64_t b = 0; b < x.Blocks(); b++, panel += kPanelRows * BlockBytes(F)) {
        const uint8_t* numbers = panel + kPanelRows * ScaleBytes(F);
        __m256i s[R][2];
        if (F == Format::kQ80) ByteSums<R>(numbers, q, s);
        else NibbleSums<R>(numbers, q, s);
        for (int half = 0; half < 2; half++) {
            const __m256 d = Scales(panel, half);
            for (int n = 0; n < R; n++) {
                const int32_t sum = x.Sum(first + n)[b];
                const float dx = x.D(first + n)[b];
                __m256i whole = s[n][half];
                if (F == Format::kQ40) whole = _mm256_sub_epi32(whole, _mm256_set1_epi32(8 * sum));
                float* to = y + n * kPanelRows + 8 * half;
                __m256 total = _mm256_loadu_ps(to);
                total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), _mm256_mul_ps(d, _mm256_set1_ps(dx)), total);
                if (F == Format::kQ41)
                    total = _mm256_fmadd_ps(Scales(panel + 32, half), _mm256_set1_ps(dx * sum), total);
                _mm256_storeu_ps(to, total);
            }
        }
        for (int n = 0; n < R; n++) q[n] += kBlock;
    }
}

/** What the float kernels ask for (see Plain); the sums stay in 8 registers. */
struct Instructions {
    FOURFOLD_AVX2 static void Halves(const uint8_t* from, float* to) {
        for (int half = 0; half < 2; half++) _mm256_storeu_ps(to + 8 * half, Scales(from, half));
    }
    template <int R>
    FOURFOLD_AVX2 static void Multiply(const float* w, const float* x, int64_t columns, float* y) {
        __m256 sums[R][2];
        for (int n = 0; n < R; n++)
            for (int half = 0; half < 2; half++) sums[n][half] = _mm256_loadu_ps(y + n * kPanelRows + 8 * half);
        for (int64_t i = 0; i < kBlock; i++) {
            const __m256 w0 = _mm256_loadu_ps(w + i * kPanelRows), w1 = _mm256_loadu_ps(w + i * kPanelRows + 8);
            for (int n = 0; n < R; n++) {
                const __m256 all = _mm256_broadcast_ss(x + n * columns + i);
                sums[n][0] = _mm256_fmadd_ps(w0, all, sums[n][0]);
                sums[n][1] = _mm256_fmadd_ps(w1, all, sums[n][1]);
            }
        }
        for (int n = 0; n < R; n++)
            for (int half = 0; half < 2; half++) _mm256_storeu_ps(y + n * kPanelRows + 8 * half, sums[n][half]);
    }
};

template <Format F>
FOURFOLD_AVX2 void Integer(const uint8_t* panel, const Rounded& x, int64_t first, int64_t rows, float* y) {
    ByFours(rows, [&](auto R, int64_t n) { IntegerTile<F, R>(panel, x, first + n, y + n * kPanelRows); });
}

template <Format F>
FOURFOLD_AVX2 void Float(const uint8_t* panel, const float* x, int64_t columns, int64_t rows, float* y) {
    FloatBody<F, Instructions>(panel, x, columns, rows, y);
}

}  // namespace avx2

template <Format F>
Kernels Avx2Kernels() {
    return {avx2::Integer<F>, avx2::Float<F>};
}

}  // namespace fourfold
#endif
