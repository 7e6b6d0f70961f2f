/**
 * What a product is made ready with: its rows of x normalized or gated, padded to whole blocks, and, for integer
 * products, rounded to Q80.
 *
 *   RMSNorm   x · gain / sqrt(mean(x²) + ε)                             from x [N, I]
 *   SwiGLU    silu(gate) · up, silu(z) = z / (1 + e^-z)                from x [N, 2I], gate and up side by side
 *   GeGLU     gelu(gate) · up, gelu(z) = z / (1 + e^-u), u = sqrt(8/π)·(z + 0.044715 z³)     the same (Grok-1)
 *   Q80       d = max|x| / 127 of each 32 numbers, q = round(x / d)    d stays float32: it is never written anywhere
 *
 * A row's numbers come from that row alone, by the same instructions whatever the number of rows.
 */
#pragma once
#include "panels.h"

namespace fourfold {

/** x / sqrt(mean(x²) + ε) times the gain. Eight sums side by side, then one: the order is the same everywhere. */
inline void NormRow(const float* x, const float* gain, float epsilon, int64_t size, float* y) {
    float sums[8] = {};
    int64_t i = 0;
    for (; i + 8 <= size; i += 8)
#pragma omp simd
        for (int64_t j = 0; j < 8; j++) sums[j] += x[i + j] * x[i + j];
    for (; i < size; i++) sums[i % 8] += x[i] * x[i];
    float squares = 0;
    for (const float sum : sums) squares += sum;
    const float r = 1 / std::sqrt(squares / size + epsilon);
#pragma omp simd
    for (int64_t k = 0; k < size; k++) y[k] = x[k] * r * gain[k];
}

inline void GateRow(const float* x, int64_t size, float* y) {
#pragma omp simd
    for (int64_t i = 0; i < size; i++) y[i] = x[i] / (1 + Exp(-x[i])) * x[size + i];
}

inline void GeluGateRow(const float* x, int64_t size, float* y) {
#pragma omp simd
    for (int64_t i = 0; i < size; i++) {
        const float u = 1.5957691216f * (x[i] + 0.044715f * x[i] * x[i] * x[i]);
        y[i] = x[i] / (1 + Exp(-u)) * x[size + i];
    }
}

/** Rows as integers: x ≈ d · q, with the sum of each block's q, which formats with an offset need. */
struct Rounded {
    int64_t columns;  // a multiple of 32
    std::vector<int8_t> q;
    std::vector<float> d;
    std::vector<int32_t> sum;

    Rounded(int64_t rows, int64_t padded)
        : columns(padded), q(rows * padded), d(rows * padded / kBlock), sum(rows * padded / kBlock) {}

    int64_t Blocks() const { return columns / kBlock; }
    const int8_t* Q(int64_t row) const { return q.data() + row * columns; }
    const float* D(int64_t row) const { return d.data() + row * Blocks(); }
    const int32_t* Sum(int64_t row) const { return sum.data() + row * Blocks(); }

    /** Rounds to the nearest, of two equally near ones to the even one: adding 1.5 · 2^23 does (see Exp). */
    void RoundRow(const float* x, int64_t row) {
        for (int64_t b = 0; b < Blocks(); b++, x += kBlock) {
            float most = 0, poison = 0;  // NaN where x has NaN or infinity, else 0: the result shall show it
#pragma omp simd reduction(max : most) reduction(+ : poison)
            for (int64_t i = 0; i < kBlock; i++) {
                most = std::max(most, std::abs(x[i]));
                poison += x[i] * 0;
            }
            const float scale = most / 127 + poison, inverse = Inverse(scale);
            int8_t* to = q.data() + row * columns + b * kBlock;
            int32_t total = 0;
#pragma omp simd reduction(+ : total)
            for (int64_t i = 0; i < kBlock; i++) {
                const int32_t whole = Eigen::numext::bit_cast<int32_t>(x[i] * inverse + 12582912.0f) - 0x4B400000;
                to[i] = static_cast<int8_t>(whole);
                total += whole;
            }
            d[row * Blocks() + b] = scale;
            sum[row * Blocks() + b] = total;
        }
    }
};

/** How rows of x become rows of I numbers. */
struct Preparation {
    Prepare kind;
    const float* gain;  // I numbers, for kNorm
    float epsilon;
    int64_t columns;  // I

    bool Gates() const { return kind == Prepare::kSwiglu || kind == Prepare::kGeglu; }
    int64_t Inputs() const { return Gates() ? 2 * columns : columns; }
    int64_t Padded() const { return (columns + kBlock - 1) / kBlock * kBlock; }

    /** One row, padded with zeros. */
    void Row(const float* x, float* y) const {
        if (kind == Prepare::kNorm) NormRow(x, gain, epsilon, columns, y);
        else if (kind == Prepare::kSwiglu) GateRow(x, columns, y);
        else if (kind == Prepare::kGeglu) GeluGateRow(x, columns, y);
        else std::copy_n(x, columns, y);
        std::fill(y + columns, y + Padded(), 0.0f);
    }
};

}  // namespace fourfold
