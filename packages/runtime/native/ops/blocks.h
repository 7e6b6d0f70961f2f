/**
 * Numbers in blocks of 32 with one scale: how ggml, llama.cpp and distributed-llama keep weights.
 *
 *   Q40   | d | 16 bytes |          value = d · (q - 8)      q in 0..15      18 bytes for 32 numbers: 4.5 bits each
 *   Q41   | d | m | 16 bytes |      value = d · q + m        q in 0..15      20 bytes                 5 bits
 *   Q80   | d | 32 bytes |          value = d · q            q in -127..127  34 bytes                 8.5 bits
 *
 * d and m are float16. Byte j of 16 holds number j in its lower half and number j + 16 in its upper one. The rounding
 * here is that of ggml's quantize_row_*_ref, bit for bit (https://github.com/ggml-org/ggml, src/ggml-quants.c).
 */
#pragma once
#include "../shapes/packed-shape.h"
#include "kernel.h"

namespace fourfold {

template <class T>
inline T Load(const void* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}
template <class T>
inline void Store(void* at, T value) { std::memcpy(at, &value, sizeof value); }

inline float HalfToFloat(uint16_t bits) { return static_cast<float>(Eigen::numext::bit_cast<Eigen::half>(bits)); }
inline uint16_t FloatToHalf(float x) { return Eigen::numext::bit_cast<uint16_t>(static_cast<Eigen::half>(x)); }
inline float Bfloat16ToFloat(uint16_t bits) { return Eigen::numext::bit_cast<float>(uint32_t{bits} << 16); }
inline uint16_t FloatToBfloat16(float x) { return Eigen::numext::bit_cast<uint16_t>(tensorflow::bfloat16(x)); }

/** The reciprocal, or 0 for 0: a block of zeros has the scale 0. */
inline float Inverse(float d) { return d == 0 ? 0 : 1 / d; }

// ## 32 numbers to a block

inline int Nibble(float x) { return std::min(15, static_cast<int>(static_cast<int8_t>(x))); }

inline void QuantizeQ40(const float* x, uint8_t* block) {
    float most = 0;  // the number that is farthest from 0, with its sign, becomes q = 0: -8 · d
    for (int64_t i = 0; i < kBlock; i++) most = std::abs(x[i]) > std::abs(most) ? x[i] : most;
    const float d = most / -8, inverse = Inverse(d);
    Store(block, FloatToHalf(d));
    for (int64_t i = 0; i < 16; i++)
        block[2 + i] = Nibble(x[i] * inverse + 8.5f) | Nibble(x[i + 16] * inverse + 8.5f) << 4;
}

inline void QuantizeQ41(const float* x, uint8_t* block) {
    float least = x[0], most = x[0];
    for (int64_t i = 1; i < kBlock; i++) {
        least = std::min(least, x[i]);
        most = std::max(most, x[i]);
    }
    const float d = (most - least) / 15, inverse = Inverse(d);
    Store(block, FloatToHalf(d));
    Store(block + 2, FloatToHalf(least));
    for (int64_t i = 0; i < 16; i++)
        block[4 + i] = Nibble((x[i] - least) * inverse + 0.5f) | Nibble((x[i + 16] - least) * inverse + 0.5f) << 4;
}

inline void QuantizeQ80(const float* x, uint8_t* block) {
    float most = 0;
    for (int64_t i = 0; i < kBlock; i++) most = std::max(most, std::abs(x[i]));
    const float d = most / 127, inverse = Inverse(d);
    Store(block, FloatToHalf(d));
    for (int64_t i = 0; i < kBlock; i++) Store(block + 2 + i, static_cast<int8_t>(std::round(x[i] * inverse)));
}

/** 32 numbers to one block of any format. */
inline void QuantizeBlock(Format format, const float* x, uint8_t* block) {
    switch (format) {
        case Format::kF32: std::memcpy(block, x, kBlock * sizeof *x); break;
        case Format::kBf16:
            for (int64_t i = 0; i < kBlock; i++) Store(block + 2 * i, FloatToBfloat16(x[i]));
            break;
        case Format::kQ40: QuantizeQ40(x, block); break;
        case Format::kQ41: QuantizeQ41(x, block); break;
        case Format::kQ80: QuantizeQ80(x, block); break;
    }
}

// ## And back

/** Half `i / 16` of byte `i % 16`: the i-th of 32 numbers of four bits. */
inline int NibbleAt(const uint8_t* numbers, int64_t i) { return i < 16 ? numbers[i] & 15 : numbers[i - 16] >> 4; }

/** Number `i` of a block whose scales lie at `scales`, `stride` bytes apart, and whose numbers lie at `numbers`. */
inline float NumberAt(Format format, const uint8_t* scales, int64_t stride, const uint8_t* numbers, int64_t i) {
    const float d = InBlocks(format) ? HalfToFloat(Load<uint16_t>(scales)) : 1;
    switch (format) {
        case Format::kF32: return Load<float>(numbers + 4 * i);
        case Format::kBf16: return Bfloat16ToFloat(Load<uint16_t>(numbers + 2 * i));
        case Format::kQ40: return d * (NibbleAt(numbers, i) - 8);
        case Format::kQ41: return d * NibbleAt(numbers, i) + HalfToFloat(Load<uint16_t>(scales + stride));
        case Format::kQ80: return d * Load<int8_t>(numbers + i);
    }
    return 0;
}

inline void DequantizeBlock(Format format, const uint8_t* block, float* x) {
    for (int64_t i = 0; i < kBlock; i++) x[i] = NumberAt(format, block, 2, block + ScaleBytes(format), i);
}

}  // namespace fourfold
