/**
 * The kernels of packed-kernels.h in AVX-512 VNNI (Intel since 2019, AMD since 2022): 64 bytes at a time, all 16 rows.
 *
 * vpdpbusd multiplies 4 unsigned bytes by 4 signed ones and adds all to a sum of 32 bits, in each of 16 lanes: a row's
 * 4 bytes and x's, in one instruction what AVX2 does in three for half as many rows.
 *
 * Q80's bytes are signed on both sides. w + 128 is not, and is w with its highest bit turned:
 *
 *     Σ q_w q_x = Σ (q_w + 128) q_x - 128 Σ q_x
 */
#pragma once
#include "packed-kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define FOURFOLD_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")))
#define FOURFOLD_VNNI_INLINE \
    static inline __attribute__((always_inline, target("avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")))

namespace fourfold {
namespace vnni {

FOURFOLD_VNNI_INLINE __m512 Scales(const uint8_t* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

FOURFOLD_VNNI_INLINE __m512i Four(const int8_t* q) { return _mm512_set1_epi32(Load<int32_t>(q)); }

/** s of R rows of x and 16 rows of w: a block of 4 bits a number, without the offset. */
template <int R>
FOURFOLD_VNNI_INLINE void NibbleSums(const uint8_t* numbers, const int8_t* const* q, __m512i* s) {
    const __m512i mask = _mm512_set1_epi8(15);
    for (int n = 0; n < R; n++) s[n] = _mm512_setzero_si512();
    for (int t = 0; t < 4; t++) {
        const __m512i w = _mm512_loadu_si512(numbers + 64 * t);
        const __m512i low = _mm512_and_si512(w, mask), high = _mm512_and_si512(_mm512_srli_epi16(w, 4), mask);
        for (int n = 0; n < R; n++) {
            s[n] = _mm512_dpbusd_epi32(s[n], low, Four(q[n] + 4 * t));
            s[n] = _mm512_dpbusd_epi32(s[n], high, Four(q[n] + 16 + 4 * t));
        }
    }
}

/** The same of Q80, plus 128 Σ q_x. */
template <int R>
FOURFOLD_VNNI_INLINE void ByteSums(const uint8_t* numbers, const int8_t* const* q, __m512i* s) {
    for (int n = 0; n < R; n++) s[n] = _mm512_setzero_si512();
    for (int t = 0; t < 8; t++) {
        const __m512i w = _mm512_xor_si512(_mm512_loadu_si512(numbers + 64 * t), _mm512_set1_epi8(-128));
        for (int n = 0; n < R; n++) s[n] = _mm512_dpbusd_epi32(s[n], w, Four(q[n] + 4 * t));
    }
}

template <Format F, int R>
FOURFOLD_VNNI void IntegerTile(const uint8_t* panel, const Rounded& x, int64_t first, float* y) {
    constexpr int32_t kOffset = F == Format::kQ40 ? 8 : F == Format::kQ80 ? 128 : 0;
    const int8_t* q[R];
    __m512 total[R];
    for (int n = 0; n < R; n++) {
        q[n] = x.Q(first + n);
        total[n] = _mm512_loadu_ps(y + n * kPanelRows);
    }
    for (int64_t b = 0; b < x.Blocks(); b++, panel += kPanelRows * BlockBytes(F)) {
        const uint8_t* numbers = panel + kPanelRows * ScaleBytes(F);
        __m512i s[R];
        if (F == Format::kQ80) ByteSums<R>(numbers, q, s);
        else NibbleSums<R>(numbers, q, s);
        const __m512 d = Scales(panel);
        for (int n = 0; n < R; n++) {
            const int32_t sum = x.Sum(first + n)[b];
            const float dx = x.D(first + n)[b];
            const __m512 whole = _mm512_cvtepi32_ps(_mm512_sub_epi32(s[n], _mm512_set1_epi32(kOffset * sum)));
            total[n] = _mm512_fmadd_ps(whole, _mm512_mul_ps(d, _mm512_set1_ps(dx)), total[n]);
            if (F == Format::kQ41) total[n] = _mm512_fmadd_ps(Scales(panel + 32), _mm512_set1_ps(dx * sum), total[n]);
            q[n] += kBlock;
        }
    }
    for (int n = 0; n < R; n++) _mm512_storeu_ps(y + n * kPanelRows, total[n]);
}

/** What the float kernels ask for (see Plain); the sums stay in 4 registers. */
struct Instructions {
    FOURFOLD_VNNI static void Halves(const uint8_t* from, float* to) { _mm512_storeu_ps(to, Scales(from)); }
    template <int R>
    FOURFOLD_VNNI static void Multiply(const float* w, const float* x, int64_t columns, float* y) {
        __m512 sums[R];
        for (int n = 0; n < R; n++) sums[n] = _mm512_loadu_ps(y + n * kPanelRows);
        for (int64_t i = 0; i < kBlock; i++) {
            const __m512 column = _mm512_loadu_ps(w + i * kPanelRows);
            for (int n = 0; n < R; n++)
                sums[n] = _mm512_fmadd_ps(column, _mm512_set1_ps(x[n * columns + i]), sums[n]);
        }
        for (int n = 0; n < R; n++) _mm512_storeu_ps(y + n * kPanelRows, sums[n]);
    }
};

template <Format F>
FOURFOLD_VNNI void Integer(const uint8_t* panel, const Rounded& x, int64_t first, int64_t rows, float* y) {
    ByFours(rows, [&](auto R, int64_t n) { IntegerTile<F, R>(panel, x, first + n, y + n * kPanelRows); });
}

template <Format F>
FOURFOLD_VNNI void Float(const uint8_t* panel, const float* x, int64_t columns, int64_t rows, float* y) {
    FloatBody<F, Instructions>(panel, x, columns, rows, y);
}

}  // namespace vnni

template <Format F>
Kernels VnniKernels() {
    return {vnni::Integer<F>, vnni::Float<F>};
}

}  // namespace fourfold
#endif
