/**
 * A weight matrix w [O, I] as the products read it: 16 rows side by side, a panel.
 *
 * The rows come as ggml has them, block after block. A processor that has read a block of one row would have to add up
 * the 8 lanes of its register to one number, which takes longer than the block's products. So a panel keeps the same
 * blocks of 16 rows together, turned in pieces of 4 bytes: a register of 8 or 16 lanes then has a row in each lane, and
 * all lanes meet the same 4 numbers of x.
 *
 *     row 0   d m | w0 w1 w2 w3 |             block b of 16 rows
 *     row 1   d m | w0 w1 w2 w3 |       →     d of rows 0..15 | m of rows 0..15 |
 *     ...           4 bytes each              w0 of rows 0..15 (64 bytes) | w1 of rows 0..15 | w2 ... | w3 ...
 *
 * This holds for every format: they differ in what 4 bytes are (1 float32, 2 bfloat16, 4 bytes of Q80, 8 numbers of
 * Q40 or Q41: columns 4t..4t+3 in the lower halves of its bytes, 16+4t.. in the upper ones). It takes as many bytes as
 * the rows did, but for O rounded up to a multiple of 16 and I to one of 32, with zeros.
 *
 * Several matrices of one shape, the experts of a layer, lie one behind the other.
 */
#pragma once
#include "blocks.h"

namespace fourfold {

/** Writes one block of one row to its lane of a panel's block. `bytes`: of the row's numbers, fewer at its end. */
inline void PackBlock(Format format, const uint8_t* block, int64_t bytes, int64_t lane, uint8_t* to) {
    const int64_t scales = ScaleBytes(format);
    for (int64_t i = 0; i < scales; i += 2) std::memcpy(to + i * kPanelRows + 2 * lane, block + i, 2);
    uint8_t* words = to + scales * kPanelRows + 4 * lane;
    for (int64_t i = 0; i < bytes; i += 4)
        std::memcpy(words + i * kPanelRows, block + scales + i, std::min<int64_t>(4, bytes - i));
}

/** One matrix, row by row, to panels; `to` holds MatrixBytes(). */
inline void PackMatrix(const Panels& w, const uint8_t* from, uint8_t* to) {
    std::memset(to, 0, w.MatrixBytes());
    const int64_t in_row = w.RowBytes(), in_block = BlockBytes(w.format);
    for (int64_t row = 0; row < w.rows; row++) {
        uint8_t* panel = to + row / kPanelRows * w.PanelBytes();
        for (int64_t b = 0; b < w.Blocks(); b++) {
            const int64_t bytes = std::min(in_block, in_row - b * in_block) - ScaleBytes(w.format);
            PackBlock(w.format, from + row * in_row + b * in_block, bytes, row % kPanelRows, panel);
            panel += w.PanelBlockBytes();
        }
    }
}

/** Row `row` as float32: of an embedding, the vector of a word. */
inline void ReadRow(const Panels& w, const uint8_t* packed, int64_t row, float* x) {
    const int64_t lane = row % kPanelRows, scales = ScaleBytes(w.format);
    const uint8_t* panel = packed + row / kPanelRows * w.PanelBytes();
    for (int64_t b = 0; b < w.Blocks(); b++, panel += w.PanelBlockBytes()) {
        uint8_t block[BlockBytes(Format::kF32)];
        for (int64_t i = 0; i < scales; i += 2) std::memcpy(block + i, panel + i * kPanelRows + 2 * lane, 2);
        for (int64_t i = 0; i < NumberBytes(w.format); i += 4)
            std::memcpy(block + scales + i, panel + (scales + i) * kPanelRows + 4 * lane, 4);
        const int64_t count = std::min(kBlock, w.columns - b * kBlock);
        for (int64_t i = 0; i < count; i++) x[b * kBlock + i] = NumberAt(w.format, block, 2, block + scales, i);
    }
}

}  // namespace fourfold
