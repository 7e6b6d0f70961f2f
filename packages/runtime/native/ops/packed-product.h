/**
 * The products of a decode step, each one op: what comes before it, the product with packed weights, and the sum after.
 *
 *   FourfoldPackedProduct(x, w, extras...) -> y [N, O]       w: panels (panels.h) as float32's bytes
 *     shape: the matrix's format, O and I
 *     how: prepare, onto, rounded, instructions
 *       prepare 0: x [N, I];  1: RMSNorm, and the gain [I] is an extra;  2: SwiGLU, x [N, 2I]
 *       onto: y is added to the last extra, [N, O]
 *       rounded: x is rounded to Q80 and multiplied as integers (formats in blocks alone), else as floats
 *       instructions: packed-variants.h's number
 *
 * One row is a matrix times a vector: every weight is read once and used once, so that memory's speed is the limit, and
 * each thread reads its own panels from front to back. With many rows, a panel (18 KB of Q40 at I = 2048) stays in the
 * cache while all rows pass.
 *
 *   FourfoldPackedRows(w, ids [N]) -> x [N, I]               rows of w as float32: an embedding
 */
#pragma once
#include "packed-variants.h"
#include "team.h"
#include "tensorflow/core/framework/common_shape_fns.h"

namespace fourfold {

inline const uint8_t* PackedBytes(OpKernelContext* ctx, int i) {
    return static_cast<const uint8_t*>(ctx->input(i).data());
}

/** Prepared rows of x: floats, or integers in place of them. */
struct PreparedRows {
    int64_t columns;
    std::vector<float> floats;
    Rounded rounded;

    PreparedRows(int64_t rows, int64_t padded, bool round)
        : columns(padded), floats(round ? 0 : rows * padded), rounded(round ? rows : 0, padded) {}

    /** x as row n. */
    void Take(const Preparation& prepare, const float* x, int64_t n) {
        std::vector<float> own(floats.empty() ? columns : 0);
        float* row = floats.empty() ? own.data() : floats.data() + n * columns;
        prepare.Row(x, row);
        if (floats.empty()) rounded.RoundRow(row, n);
    }
};

/** One panel times rows first .. last of x: calls write(row, y [16]). */
template <class Write>
void MultiplyPanel(const uint8_t* panel, const Kernels& kernels, const PreparedRows& x, int64_t first, int64_t last,
                   Write write) {
    for (int64_t n = first; n < last; n += kTile) {
        const int64_t count = std::min(kTile, last - n);
        float y[kTile * kPanelRows] = {};
        if (x.floats.empty()) kernels.integer(panel, x.rounded, n, count, y);
        else kernels.floats(panel, x.floats.data() + n * x.columns, x.columns, count, y);
        for (int64_t i = 0; i < count; i++) write(n + i, y + i * kPanelRows);
    }
}

/** The same into matrix y [N, O] at the panel's columns, onto another one or not. */
inline void MultiplyInto(const Panels& w, const uint8_t* packed, int64_t p, const Kernels& kernels,
                         const PreparedRows& x, int64_t first, int64_t last, const float* onto, float* y) {
    const int64_t O = w.rows, start = p * kPanelRows, count = std::min(kPanelRows, O - start);
    MultiplyPanel(packed + p * w.PanelBytes(), kernels, x, first, last, [=](int64_t n, const float* sums) {
        const int64_t at = n * O + start;
        for (int64_t i = 0; i < count; i++) y[at + i] = onto ? onto[at + i] + sums[i] : sums[i];
    });
}

/** A matrix and how it is multiplied. */
struct Factor {
    Panels panels;
    Kernels kernels;
    bool rounded;  // whether x is rounded to Q80: for formats in blocks

    Factor() = default;
    Factor(const Panels& w, bool round, Variant variant = Variant::kBest)
        : panels(w), kernels(KernelsFor(w.format, variant)), rounded(round && InBlocks(w.format)) {}

    /** y [N, O] = [onto +] w · x, N rows of x prepared. */
    void Times(OpKernelContext* ctx, const uint8_t* packed, const Preparation& prepare, const float* x, int64_t N,
               const float* onto, float* y) const {
        PreparedRows rows(N, prepare.Padded(), rounded);
        const auto take = [&](int64_t first, int64_t last) {
            for (int64_t n = first; n < last; n++) rows.Take(prepare, x + n * prepare.Inputs(), n);
        };
        if (N == 1) take(0, 1);
        else ForParts(ctx, N, 4 * prepare.Inputs(), take);
        ForParts(ctx, panels.Count(), 2 * panels.columns * N, [&](int64_t first, int64_t last) {
            for (int64_t p = first; p < last; p++) MultiplyInto(panels, packed, p, kernels, rows, 0, N, onto, y);
        });
    }
};

class PackedProduct : public OpKernel {
  public:
    explicit PackedProduct(OpKernelConstruction* c) : OpKernel(c) {
        OP_REQUIRES_OK(c, numbers_.Read(c));
        const auto variant = static_cast<Variant>(numbers_.variant);
        OP_REQUIRES(c, Variant::kBest <= variant && variant <= Variant::kVnni && Has(variant),
                    absl::InvalidArgumentError("this processor has not the instructions of that variant"));
        w_ = Factor(numbers_.w, numbers_.rounded, variant);
    }

    void Compute(OpKernelContext* ctx) override {
        OP_REQUIRES(ctx, numbers_.Fits(ctx), WrongShapes(ctx, "x [N, I] or [N, 2I], w, a gain [I], onto [N, O]"));
        const auto& [w, prepare, onto, rounded, variant, epsilon] = numbers_;
        const int64_t N = ctx->input(0).dim_size(0);
        float* y = Out(ctx, 0, TensorShape({N, w.rows}));
        if (!ctx->status().ok()) return;
        const float* gain = numbers_.Norms() ? In(ctx, 2) : nullptr;
        w_.Times(ctx, PackedBytes(ctx, 1), {prepare, gain, epsilon, w.columns}, In(ctx, 0), N,
                 onto ? In(ctx, ctx->num_inputs() - 1) : nullptr, y);
    }

  private:
    ProductNumbers numbers_;
    Factor w_;
};

class PackedRows : public OpKernel {
  public:
    explicit PackedRows(OpKernelConstruction* c) : OpKernel(c) {
        std::vector<int32_t> shape;
        OP_REQUIRES_OK(c, ReadInts(c, "shape", 3, &shape));
        OP_REQUIRES_OK(c, ReadPanels(shape, 0, &w_));
    }

    void Compute(OpKernelContext* ctx) override {
        const Tensor& ids = ctx->input(1);
        OP_REQUIRES(ctx, ids.dims() == 1 && HoldsPanels(ctx, 0, w_), WrongShapes(ctx, "w and ids [N]"));
        const int64_t N = ids.dim_size(0);
        const int32_t* id = ids.flat<int32_t>().data();
        for (int64_t n = 0; n < N; n++)
            OP_REQUIRES(ctx, id[n] >= 0 && id[n] < w_.rows,
                        absl::InvalidArgumentError("id " + std::to_string(id[n]) + " is not one of " +
                                                   std::to_string(w_.rows) + " rows"));
        float* x = Out(ctx, 0, TensorShape({N, w_.columns}));
        if (!ctx->status().ok()) return;
        for (int64_t n = 0; n < N; n++) ReadRow(w_, PackedBytes(ctx, 0), id[n], x + n * w_.columns);
    }

  private:
    Panels w_;
};

REGISTER_OP("FourfoldPackedProduct")
    .Input("x: float").Input("w: float").Input("extras: M * float").Output("y: float")
    .Attr("M: int >= 0").Attr("shape: list(int)").Attr("how: list(int)").Attr("epsilon: float")
    .SetShapeFn(tensorflow::shape_inference::UnknownShape);
REGISTER_OP("FourfoldPackedRows")
    .Input("w: float").Input("ids: int32").Output("x: float").Attr("shape: list(int)")
    .SetShapeFn(tensorflow::shape_inference::UnknownShape);
REGISTER_KERNEL_BUILDER(Name("FourfoldPackedProduct").Device(DEVICE_CPU), PackedProduct);
REGISTER_KERNEL_BUILDER(Name("FourfoldPackedRows").Device(DEVICE_CPU), PackedRows);

}  // namespace fourfold
