/**
 * c += a · b of small matrices, those of attention.h, which lie in the processor's cache.
 *
 * A processor with AVX2 can multiply and add 16 numbers a cycle, and read 16. So a product is fast only if a number is
 * used several times once it is in a register. Here 4 rows and 16 columns of c stay in registers, as 8 vectors: each
 * step along the depth reads 2 vectors of b and 4 numbers of a, and multiplies all of them with each other.
 */
#pragma once
#include "kernel.h"

namespace fourfold {

// 8 floats as one value, which GCC and Clang turn into whatever vector registers the processor has.
typedef float Vector __attribute__((vector_size(32), aligned(4), may_alias));

inline Vector& VectorAt(float* x) { return *reinterpret_cast<Vector*>(x); }
inline Vector VectorAt(const float* x) { return *reinterpret_cast<const Vector*>(x); }

constexpr int64_t kPanel = 16;     // columns of c in registers
constexpr int64_t kMostDepth = 64; // where columns are left over after the last panel

/** The left factor, whose element (i, k) is at[i * row + k * column]: it may lie by rows or by columns. */
struct Left {
    const float* at;
    int64_t row, column;
    Left From(int64_t i) const { return {at + i * row, row, column}; }
};

/** A matrix of contiguous rows that begin `row` floats apart. */
template <class Float>
struct Rows {
    Float* at;
    int64_t row;
    Float* operator[](int64_t i) const { return at + i * row; }
    Rows From(int64_t i) const { return {at + i * row, row}; }
    Rows Column(int64_t j) const { return {at + j, row}; }
};

/** R rows of c, the first `columns` of a panel; b has the whole panel. */
template <int R>
inline void AddBlock(Left a, Rows<const float> b, Rows<float> c, int64_t depth, int64_t columns) {
    Vector sums[R][2] = {};
    for (int64_t k = 0; k < depth; k++) {
        const Vector b0 = VectorAt(b[k]), b1 = VectorAt(b[k] + 8);
#pragma GCC unroll 4
        for (int i = 0; i < R; i++) {
            const float number = a.at[i * a.row + k * a.column];
            sums[i][0] += number * b0;
            sums[i][1] += number * b1;
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < R; i++) {
        if (columns == kPanel) {
            VectorAt(c[i]) += sums[i][0];
            VectorAt(c[i] + 8) += sums[i][1];
        } else {
            float row[kPanel];
            std::memcpy(row, sums[i], sizeof row);
            for (int64_t j = 0; j < columns; j++) c[i][j] += row[j];
        }
    }
}

/** All rows of c, the first `columns` of a panel. */
inline void AddPanel(Left a, Rows<const float> b, Rows<float> c, int64_t rows, int64_t depth, int64_t columns) {
    int64_t i = 0;
    for (; i + 4 <= rows; i += 4) AddBlock<4>(a.From(i), b, {c[i], c.row}, depth, columns);
    for (; i < rows; i++) AddBlock<1>(a.From(i), b, {c[i], c.row}, depth, columns);
}

/** c [rows, columns] += a [rows, depth] · b [depth, columns]; what b has after its last panel is copied, padded. */
inline void AddProduct(Left a, Rows<const float> b, Rows<float> c, int64_t rows, int64_t depth, int64_t columns) {
    const int64_t rest = columns % kPanel, whole = columns - rest;
    for (int64_t j = 0; j < whole; j += kPanel) AddPanel(a, b.Column(j), c.Column(j), rows, depth, kPanel);
    if (rest == 0) return;
    float padded[kMostDepth * kPanel] = {};
    for (int64_t k = 0; k < depth; k++) std::copy_n(b[k] + whole, rest, padded + k * kPanel);
    AddPanel(a, {padded, kPanel}, c.Column(whole), rows, depth, rest);
}

}  // namespace fourfold
