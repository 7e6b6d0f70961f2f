/**
 * What packed matrices look like from outside: their formats, how many bytes they take, and how ops are told of them.
 * Processors (../ops) and GPUs (../cuda) share it.
 *
 *   Q40   d, 16 bytes        18 bytes for 32 numbers
 *   Q41   d, m, 16 bytes     20
 *   Q80   d, 32 bytes        34        ../ops/blocks.h has what the bytes mean, ../ops/panels.h where they lie
 */
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "tensorflow/core/framework/op_kernel.h"

namespace fourfold {

/** How a weight matrix is kept; the numbers are those of packages/ops/src/quantized/formats.ts. */
enum class Format { kF32, kBf16, kQ40, kQ41, kQ80 };

constexpr int64_t kBlock = 32;       // numbers with one scale
constexpr int64_t kPanelRows = 16;  // rows side by side

/** Bytes of the scales of a block, and of its numbers. */
constexpr int64_t ScaleBytes(Format f) {
    return f == Format::kQ41 ? 4 : f == Format::kQ40 || f == Format::kQ80 ? 2 : 0;
}
constexpr int64_t NumberBytes(Format f) {
    return f == Format::kF32 ? 128 : f == Format::kBf16 ? 64 : f == Format::kQ80 ? 32 : 16;
}
constexpr int64_t BlockBytes(Format f) { return ScaleBytes(f) + NumberBytes(f); }
constexpr bool InBlocks(Format f) { return ScaleBytes(f) > 0; }

/** Where the parts of packed matrices lie. */
struct Panels {
    Format format;
    int64_t rows, columns;

    int64_t Blocks() const { return (columns + kBlock - 1) / kBlock; }
    int64_t Count() const { return (rows + kPanelRows - 1) / kPanelRows; }  // panels of one matrix
    int64_t PanelBlockBytes() const { return kPanelRows * BlockBytes(format); }
    int64_t PanelBytes() const { return Blocks() * PanelBlockBytes(); }
    int64_t MatrixBytes() const { return Count() * PanelBytes(); }
    /** Of a row as it comes, in ggml's order: float32 and bfloat16 have no padding there. */
    int64_t RowBytes() const {
        return InBlocks(format) ? Blocks() * BlockBytes(format) : columns * NumberBytes(format) / kBlock;
    }
};

// ## What ops are told

/**
 * Attribute `name`, a list of `count` whole numbers: ops take their numbers in lists, since the binding spends some
 * microseconds on every attribute.
 */
inline absl::Status ReadInts(tensorflow::OpKernelConstruction* c, const char* name, size_t count,
                             std::vector<int32_t>* numbers) {
    TF_RETURN_IF_ERROR(c->GetAttr(name, numbers));
    if (numbers->size() == count) return absl::OkStatus();
    return absl::InvalidArgumentError(c->def().op() + " takes " + std::to_string(count) + " numbers as " + name);
}

/** A matrix's format, rows and columns, in `numbers` from `at` on. */
inline absl::Status ReadPanels(const std::vector<int32_t>& numbers, int at, Panels* w) {
    const int32_t format = numbers[at];
    if (format < 0 || format > static_cast<int32_t>(Format::kQ80) || numbers[at + 1] < 1 || numbers[at + 2] < 1)
        return absl::InvalidArgumentError("there is no such packed matrix");
    *w = {static_cast<Format>(format), numbers[at + 1], numbers[at + 2]};
    return absl::OkStatus();
}

/** Whether input `i` holds `count` such matrices. */
inline bool HoldsPanels(tensorflow::OpKernelContext* ctx, int i, const Panels& w, int64_t count = 1) {
    return static_cast<int64_t>(ctx->input(i).TotalBytes()) == count * w.MatrixBytes();
}

/** What is done with rows of x before they are multiplied: ../ops/packed-rows.h has the equations. */
enum class Prepare { kNothing, kNorm, kSwiglu, kGeglu };

/** The numbers of one product: ../ops/packed-product.h says what they are. */
struct ProductNumbers {
    Panels w;
    Prepare prepare;
    bool onto, rounded;
    int variant;
    float epsilon;

    /** Attributes "shape", "how" and "epsilon". */
    absl::Status Read(tensorflow::OpKernelConstruction* c) {
        std::vector<int32_t> shape, how;
        TF_RETURN_IF_ERROR(ReadInts(c, "shape", 3, &shape));
        TF_RETURN_IF_ERROR(ReadInts(c, "how", 4, &how));
        TF_RETURN_IF_ERROR(ReadPanels(shape, 0, &w));
        TF_RETURN_IF_ERROR(c->GetAttr("epsilon", &epsilon));
        prepare = static_cast<Prepare>(how[0]);
        onto = how[1] != 0, rounded = how[2] != 0, variant = how[3];
        if (how[0] >= 0 && prepare <= Prepare::kSwiglu) return absl::OkStatus();
        return absl::InvalidArgumentError("there is no such preparation");
    }

    bool Norms() const { return prepare == Prepare::kNorm; }
    bool Gates() const { return prepare == Prepare::kSwiglu; }

    /** Whether the inputs are x [N, I] or [N, 2I], the matrix, a gain [I] for a norm, onto [N, O]. */
    bool Fits(tensorflow::OpKernelContext* ctx) const {
        const tensorflow::Tensor& x = ctx->input(0);
        if (ctx->num_inputs() != 2 + Norms() + onto || !HoldsPanels(ctx, 1, w)) return false;
        if (x.dims() != 2 || x.dim_size(1) != (Gates() ? 2 : 1) * w.columns) return false;
        if (Norms() && ctx->input(2).shape() != tensorflow::TensorShape({w.columns})) return false;
        return !onto || ctx->input(2 + Norms()).shape() == tensorflow::TensorShape({x.dim_size(0), w.rows});
    }
};

}  // namespace fourfold
