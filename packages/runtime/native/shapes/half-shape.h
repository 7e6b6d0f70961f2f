/**
 * What the two halves of a decoder's layer look like from outside: ../ops/decoder-layer.h has the ops and says what
 * their numbers are. Processors (../ops) and GPUs (../cuda) share it.
 */
#pragma once
#include "cache-shape.h"

namespace fourfold {

/** Two matrices behind each other: qkv [J, D] and out [D, H·K], or up [2F, D] and down [D, F]. */
struct HalfShape {
    Panels first, second;

    /** Format, rows and columns of both, in `shapes` from `at` on. */
    absl::Status Read(const std::vector<int32_t>& shapes, int at) {
        TF_RETURN_IF_ERROR(ReadPanels(shapes, at, &first));
        return ReadPanels(shapes, at + 3, &second);
    }

    bool HeldAt(tensorflow::OpKernelContext* ctx, int i, int j) const {
        return HoldsPanels(ctx, i, first) && HoldsPanels(ctx, j, second);
    }

    /** Whether the second one takes what a gate makes of the first one's result. */
    bool IsGated() const { return first.rows == 2 * second.columns; }
    /** Whether attention with heads of K numbers fits between the two. */
    bool Holds(const AttentionNumbers& attention, int64_t K) const {
        return first.rows == attention.J(K) && second.columns == attention.H * K;
    }
};

/** The numbers of one op that is a half. */
struct HalfNumbers {
    HalfShape shape;
    bool qk_norm, onto, rounded;
    float epsilon;

    /** Attributes "shapes", "how" and "norm_epsilon". */
    absl::Status Read(tensorflow::OpKernelConstruction* c) {
        std::vector<int32_t> shapes, how;
        TF_RETURN_IF_ERROR(ReadInts(c, "shapes", 6, &shapes));
        TF_RETURN_IF_ERROR(ReadInts(c, "how", 3, &how));
        TF_RETURN_IF_ERROR(shape.Read(shapes, 0));
        qk_norm = how[0] != 0, onto = how[1] != 0, rounded = how[2] != 0;
        return c->GetAttr("norm_epsilon", &epsilon);
    }

    /** Whether x, the matrices (inputs 1 and 2) and the extras from `extras` on fit. */
    bool Fits(tensorflow::OpKernelContext* ctx, int extras) const {
        const tensorflow::Tensor& x = ctx->input(0);
        const int64_t D = shape.first.columns;
        if (ctx->num_inputs() != extras + 1 + 2 * qk_norm + onto || x.dims() != 2 || x.dim_size(1) != D) return false;
        if (!shape.HeldAt(ctx, 1, 2) || ctx->input(extras).shape() != tensorflow::TensorShape({D})) return false;
        const tensorflow::Tensor& last = ctx->input(ctx->num_inputs() - 1);
        return !onto || last.shape() == tensorflow::TensorShape({x.dim_size(0), shape.second.rows});
    }
};

}  // namespace fourfold
