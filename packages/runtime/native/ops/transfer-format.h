/**
 * How numbers travel between the ranks that share a model. A row of D numbers is cut into blocks of 32:
 *
 *     float32     4 bytes each, exact
 *     bfloat16    2 bytes each: the upper half of a float32, rounded to nearest; off by at most 2^-8 of each
 *     q80         33 bytes for 32: a scale of one byte and 32 int8; off by at most 1/225 of the block's largest
 *
 * q80 is distributed-llama's idea, whose scale has half precision: 34 bytes. Ours has 5 bits of exponent and 3 of
 * mantissa, from 2^-20 to 3328, rounded up so that int8 always suffices:
 *
 *     code      0 | 1       2       3      ...   254    | 255
 *     scale     0 | 2^-20   9/8 ·   10/8 · ...   3328   | NaN
 *
 * What is below 6e-5 is rounded to multiples of 2^-20, beside a residual stream of about 1. A block that holds NaN,
 * infinity or 422,656 and more arrives as NaN, which nobody overlooks: such a model's numbers travel as float32.
 */
#pragma once
#include "kernel.h"
#include "stochastic-rounding.h"

namespace fourfold {

constexpr int64_t kTransferBlock = 32;

enum class TransferFormat { kFloat32, kBfloat16, kQ80 };

inline float FromUpperHalf(uint16_t half) {
    const uint32_t bits = static_cast<uint32_t>(half) << 16;
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

/** Bytes of a block of `count` numbers. */
inline int64_t BlockBytes(TransferFormat format, int64_t count) {
    if (format == TransferFormat::kFloat32) return 4 * count;
    return format == TransferFormat::kBfloat16 ? 2 * count : 1 + count;
}

// ## q80

constexpr uint32_t kFirstScale = (127 - 20) << 3;  // of 2^-20: exponent and 3 bits of mantissa, as a float has them

/** The least scale that is not below largest / 127. */
inline uint8_t ScaleCode(uint32_t largest_bits) {
    if (largest_bits == 0) return 0;
    if (largest_bits >= 0x7f800000u) return 255;
    float largest;
    std::memcpy(&largest, &largest_bits, sizeof largest);
    const uint32_t code = (BitsOf(largest / 127.0f) + 0xfffffu) >> 20;  // rounded up
    if (code <= kFirstScale) return 1;
    return static_cast<uint8_t>(std::min<uint32_t>(code - kFirstScale + 1, 255));
}

inline float ScaleOf(uint8_t code) {
    if (code == 0) return 0;
    const uint32_t bits = code == 255 ? 0x7fc00000u : (code - 1 + kFirstScale) << 20;
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return scale;
}

/** x ≈ scale · q. */
inline void EncodeQ80(const float* x, int64_t count, uint8_t* to) {
    uint32_t largest = 0;  // of floats without their sign the larger one has the larger bits, NaN the largest
    for (int64_t i = 0; i < count; i++) largest = std::max(largest, BitsOf(x[i]) & 0x7fffffffu);
    to[0] = ScaleCode(largest);
    const float inverse = to[0] == 0 || to[0] == 255 ? 0.0f : 1.0f / ScaleOf(to[0]);
    for (int64_t i = 0; i < count; i++) {
        // Adding 1.5 · 2^23 rounds to a whole number, whose lowest bits are the float's.
        to[1 + i] = static_cast<uint8_t>(BitsOf(x[i] * inverse + 12582912.0f));
    }
}

inline void DecodeQ80(const uint8_t* from, int64_t count, float* x) {
    const float step = ScaleOf(from[0]);
    const int8_t* q = reinterpret_cast<const int8_t*>(from + 1);
    for (int64_t i = 0; i < count; i++) x[i] = step * q[i];
}

// ## Any format

inline void EncodeBlock(TransferFormat format, const float* x, int64_t count, uint8_t* to) {
    if (format == TransferFormat::kQ80) return EncodeQ80(x, count, to);
    if (format == TransferFormat::kFloat32) {
        std::memcpy(to, x, 4 * count);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        const uint16_t half = RoundToNearest(BitsOf(x[i]));
        std::memcpy(to + 2 * i, &half, sizeof half);
    }
}

inline void DecodeBlock(TransferFormat format, const uint8_t* from, int64_t count, float* x) {
    if (format == TransferFormat::kQ80) return DecodeQ80(from, count, x);
    if (format == TransferFormat::kFloat32) {
        std::memcpy(x, from, 4 * count);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        uint16_t half;
        std::memcpy(&half, from + 2 * i, sizeof half);
        x[i] = FromUpperHalf(half);
    }
}

/** Where the blocks of N rows of D numbers lie in a message: blocks never cross from one row into the next. */
struct BlockPlan {
    TransferFormat format;
    int64_t rows, columns;

    int64_t PerRow() const { return (columns + kTransferBlock - 1) / kTransferBlock; }
    int64_t Blocks() const { return rows * PerRow(); }
    int64_t RowBytes() const {
        const int64_t whole = columns / kTransferBlock, rest = columns % kTransferBlock;
        return whole * BlockBytes(format, kTransferBlock) + (rest > 0 ? BlockBytes(format, rest) : 0);
    }
    int64_t Bytes() const { return rows * RowBytes(); }
    /** The first byte of a block; of the block after the last, the end. */
    int64_t Start(int64_t block) const {
        return block / PerRow() * RowBytes() + block % PerRow() * BlockBytes(format, kTransferBlock);
    }
    /** The first number of a block, among the N·D. */
    int64_t First(int64_t block) const { return block / PerRow() * columns + block % PerRow() * kTransferBlock; }
    int64_t Count(int64_t block) const {
        return std::min(kTransferBlock, columns - block % PerRow() * kTransferBlock);
    }
};

}  // namespace fourfold
