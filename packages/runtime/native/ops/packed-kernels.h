/**
 * The product of one panel of 16 weight rows with a few rows of x, in plain C++: what every processor can run, and what
 * the variants for AVX2 (packed-avx2.h) and AVX-512 VNNI (packed-vnni.h) must equal bit for bit.
 *
 * Integer products (activations rounded to Q80). A block of 32 is one whole number, exact in any order:
 *
 *   s = Σ q_w · q_x                 Q80        each term below 2^14, the sum below 2^20
 *   s = Σ q_w · q_x - 8 Σ q_x       Q40        Σ q_x comes with x
 *   y += s · (d_w · d_x)            fused multiply-add, block after block: the only order that matters
 *   y += m · (d_x Σ q_x)            Q41, q_w from 0 to 15, after it
 *
 * Float products (activations float32). A block's weights become floats once for all rows of x, then
 *
 *   y += w · x                      fused multiply-add, column after column
 *
 * The sums of 4 rows of x and 16 of w are what the registers hold: kernels take their rows by fours, and what is left.
 * A row's bits don't depend on the others.
 */
#pragma once
#include "packed-rows.h"

#define FOURFOLD_INLINE inline __attribute__((always_inline))

namespace fourfold {

constexpr int64_t kTile = 16;  // the most rows of x that one call takes

/** Adds rows first .. first + rows of x, times the panel's rows, to y [rows, 16], which begins at 0. */
using IntegerKernel = void (*)(const uint8_t* panel, const Rounded& x, int64_t first, int64_t rows, float* y);
/** The same of float rows, `columns` apart: a multiple of 32. */
using FloatKernel = void (*)(const uint8_t* panel, const float* x, int64_t columns, int64_t rows, float* y);

/** The kernels of one format. */
struct Kernels {
    IntegerKernel integer;
    FloatKernel floats;
};

/** Calls work(R, first) for 4 rows at a time and the 1 to 3 that are left: R is a constant of the call's type. */
template <class Work>
FOURFOLD_INLINE void ByFours(int64_t rows, Work work) {
    int64_t n = 0;
    for (; n + 4 <= rows; n += 4) work(std::integral_constant<int, 4>(), n);
    if (rows - n == 3) work(std::integral_constant<int, 3>(), n);
    if (rows - n == 2) work(std::integral_constant<int, 2>(), n);
    if (rows - n == 1) work(std::integral_constant<int, 1>(), n);
}

// ## Whole numbers

/** q_w of lane `lane`, column `i` of 32: as packed, Q40's and Q41's from 0 to 15. */
template <Format F>
FOURFOLD_INLINE int Packed(const uint8_t* numbers, int64_t lane, int64_t i) {
    if (F == Format::kQ80) return Load<int8_t>(numbers + i / 4 * 64 + 4 * lane + i % 4);
    const uint8_t byte = numbers[i % 16 / 4 * 64 + 4 * lane + i % 4];
    return i < 16 ? byte & 15 : byte >> 4;
}

template <Format F>
void PlainInteger(const uint8_t* panel, const Rounded& x, int64_t first, int64_t rows, float* y) {
    for (int64_t b = 0; b < x.Blocks(); b++, panel += kPanelRows * BlockBytes(F)) {
        const uint8_t* numbers = panel + kPanelRows * ScaleBytes(F);
        for (int64_t lane = 0; lane < kPanelRows; lane++) {
            const float d = HalfToFloat(Load<uint16_t>(panel + 2 * lane));
            for (int64_t n = 0; n < rows; n++) {
                const int8_t* q = x.Q(first + n) + b * kBlock;
                const float dx = x.D(first + n)[b];
                const int32_t sum = x.Sum(first + n)[b];
                int32_t s = F == Format::kQ40 ? -8 * sum : 0;
                for (int64_t i = 0; i < kBlock; i++) s += Packed<F>(numbers, lane, i) * q[i];
                float& to = y[n * kPanelRows + lane];
                to = std::fma(static_cast<float>(s), d * dx, to);
                if (F != Format::kQ41) continue;
                const float m = HalfToFloat(Load<uint16_t>(panel + 2 * (kPanelRows + lane)));
                to = std::fma(m, dx * static_cast<float>(sum), to);
            }
        }
    }
}

// ## Floats

/** A panel's block as floats, [32, 16]: the 16 rows of each column. */
template <Format F, class Instructions>
FOURFOLD_INLINE void DecodeBlock(const uint8_t* block, float* w) {
    float d[kPanelRows], m[kPanelRows];
    if (InBlocks(F)) Instructions::Halves(block, d);
    if (F == Format::kQ41) Instructions::Halves(block + 2 * kPanelRows, m);
    const uint8_t* numbers = block + kPanelRows * ScaleBytes(F);
    for (int64_t i = 0; i < kBlock; i++) {
        float* column = w + i * kPanelRows;
        if (F == Format::kF32) {
            std::memcpy(column, numbers + i * 64, 64);
        } else if (F == Format::kBf16) {
            const uint32_t shift = i % 2 == 0 ? 16 : 0;  // a word's lower half is the first of its two columns
            for (int64_t lane = 0; lane < kPanelRows; lane++) {
                const uint32_t word = Load<uint32_t>(numbers + i / 2 * 64 + 4 * lane) << shift & 0xffff0000u;
                std::memcpy(column + lane, &word, 4);
            }
        } else {
            const bool q80 = F == Format::kQ80;
            const int64_t at = q80 ? i : i % 16;
            for (int64_t lane = 0; lane < kPanelRows; lane++) {
                const uint32_t word = Load<uint32_t>(numbers + at / 4 * 64 + 4 * lane);
                const int32_t q = q80 ? static_cast<int8_t>(word >> 8 * (i % 4))
                                      : static_cast<int32_t>(word >> (8 * (i % 4) + (i < 16 ? 0 : 4)) & 15);
                column[lane] = F == Format::kQ41 ? d[lane] * q + m[lane] : d[lane] * (F == Format::kQ40 ? q - 8 : q);
            }
        }
    }
}

/** What the float kernels leave to a processor's own instructions. */
struct Plain {
    /** 16 float16 numbers to float32. */
    static void Halves(const uint8_t* from, float* to) {
        for (int64_t lane = 0; lane < kPanelRows; lane++) to[lane] = HalfToFloat(Load<uint16_t>(from + 2 * lane));
    }
    /** y [R, 16] += w [32, 16] · x, for R rows of x that lie `columns` apart. */
    template <int R>
    static void Multiply(const float* w, const float* x, int64_t columns, float* y) {
        for (int n = 0; n < R; n++)
            for (int64_t i = 0; i < kBlock; i++)
#pragma omp simd
                for (int64_t lane = 0; lane < kPanelRows; lane++) {
                    float& to = y[n * kPanelRows + lane];
                    to = std::fma(w[i * kPanelRows + lane], x[n * columns + i], to);
                }
    }
};

/** A block's weights are decoded once for all rows. Inlined into functions that are made for one processor. */
template <Format F, class Instructions>
FOURFOLD_INLINE void FloatBody(const uint8_t* panel, const float* x, int64_t columns, int64_t rows, float* y) {
    float decoded[kBlock * kPanelRows];
    for (int64_t b = 0; b < columns; b += kBlock, panel += kPanelRows * BlockBytes(F)) {
        if (F != Format::kF32) DecodeBlock<F, Instructions>(panel, decoded);
        const float* w = F == Format::kF32 ? reinterpret_cast<const float*>(panel) : decoded;
        ByFours(rows, [=](auto R, int64_t n) {
            Instructions::template Multiply<R>(w, x + n * columns + b, columns, y + n * kPanelRows);
        });
    }
}

template <Format F>
void PlainFloat(const uint8_t* panel, const float* x, int64_t columns, int64_t rows, float* y) {
    FloatBody<F, Plain>(panel, x, columns, rows, y);
}

template <Format F>
Kernels PlainKernels() {
    return {PlainInteger<F>, PlainFloat<F>};
}

}  // namespace fourfold
