/**
 * How numbers travel between the ranks that share a model. A row of D numbers is cut into blocks of 64:
 *
 *     float32     4 bytes each, exact
 *     bfloat16    2 bytes each: the upper half of a float32, rounded to nearest; off by at most 2^-8 of each
 *     q80         66 bytes for 64: a scale in bfloat16 and 64 int8; off by at most 1/253 of the block's largest
 *
 * q80 is distributed-llama's idea, whose blocks have 32 numbers and a scale in half precision: 68 bytes for 64. Of
 * twice as many numbers the largest is about 1.15 times as large, and so is the error; and a bfloat16 reaches as far
 * as a float32, so that no scale is too small or too large to be written. The scale is rounded up: int8 always
 * suffices. A block that holds NaN or infinity arrives as NaN.
 */
#pragma once
#include "kernel.h"
#include "stochastic-rounding.h"

namespace fourfold {

constexpr int64_t kTransferBlock = 64;

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
    return format == TransferFormat::kBfloat16 ? 2 * count : 2 + count;
}

// ## q80

/** The least bfloat16 that is not below largest / 127; NaN and infinity stay what they are. */
inline uint16_t ScaleOf(uint32_t largest_bits) {
    if (largest_bits >= 0x7f800000u) return 0x7fc0;
    float largest;
    std::memcpy(&largest, &largest_bits, sizeof largest);
    return largest < 1e-30f ? 0 : static_cast<uint16_t>((BitsOf(largest / 127.0f) + 0xffffu) >> 16);
}

/** x ≈ scale · q. */
inline void EncodeQ80(const float* x, int64_t count, uint8_t* to) {
    uint32_t largest = 0;  // of floats without their sign the larger one has the larger bits, NaN the largest
    for (int64_t i = 0; i < count; i++) largest = std::max(largest, BitsOf(x[i]) & 0x7fffffffu);
    const uint16_t scale = ScaleOf(largest);
    std::memcpy(to, &scale, sizeof scale);
    const float inverse = scale == 0 || scale == 0x7fc0 ? 0.0f : 1.0f / FromUpperHalf(scale);
    for (int64_t i = 0; i < count; i++) {
        // Adding 1.5 · 2^23 rounds to a whole number, whose lowest bits are the float's.
        to[2 + i] = static_cast<uint8_t>(BitsOf(x[i] * inverse + 12582912.0f));
    }
}

inline void DecodeQ80(const uint8_t* from, int64_t count, float* x) {
    uint16_t scale;
    std::memcpy(&scale, from, sizeof scale);
    const float step = FromUpperHalf(scale);
    const int8_t* q = reinterpret_cast<const int8_t*>(from + 2);
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
