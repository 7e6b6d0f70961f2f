/**
 * What a feed-forward of several experts looks like from outside: ../ops/experts.h has the op and says what its numbers
 * are. Processors (../ops) and GPUs (../cuda) share it.
 */
#pragma once
#include "packed-shape.h"

namespace fourfold {

struct ExpertsNumbers {
    Panels up, down;  // of one expert
    int first, count, active;
    bool normalized, norm, onto, rounded, gelu;
    float epsilon;

    /** Attributes "shapes", "how" and "epsilon". */
    absl::Status Read(tensorflow::OpKernelConstruction* c) {
        std::vector<int32_t> shapes, how;
        TF_RETURN_IF_ERROR(ReadInts(c, "shapes", 6, &shapes));
        TF_RETURN_IF_ERROR(ReadInts(c, "how", 8, &how));
        TF_RETURN_IF_ERROR(ReadPanels(shapes, 0, &up));
        TF_RETURN_IF_ERROR(ReadPanels(shapes, 3, &down));
        TF_RETURN_IF_ERROR(c->GetAttr("epsilon", &epsilon));
        first = how[0], count = how[1], active = how[2];
        normalized = how[3] != 0, norm = how[4] != 0, onto = how[5] != 0, rounded = how[6] != 0, gelu = how[7] != 0;
        if (up.rows == 2 * down.columns && down.rows == up.columns && first >= 0 && count >= 1) return absl::OkStatus();
        return absl::InvalidArgumentError("experts are up [2F, D] and down [D, F]");
    }

    Prepare Before() const { return norm ? Prepare::kNorm : Prepare::kNothing; }
    Prepare Between() const { return gelu ? Prepare::kGeglu : Prepare::kSwiglu; }

    /** Whether the inputs are x [N, D], logits [N, E], the matrices, a gain [D] for a norm, onto [N, D]. */
    bool Fits(tensorflow::OpKernelContext* ctx) const {
        const tensorflow::Tensor &x = ctx->input(0), &logits = ctx->input(1);
        if (ctx->num_inputs() != 4 + norm + onto || x.dims() != 2 || logits.dims() != 2) return false;
        if (x.dim_size(1) != up.columns || logits.dim_size(0) != x.dim_size(0)) return false;
        if (active < 1 || active > logits.dim_size(1) || first + count > logits.dim_size(1)) return false;
        if (!HoldsPanels(ctx, 2, up, count) || !HoldsPanels(ctx, 3, down, count)) return false;
        if (norm && ctx->input(4).shape() != tensorflow::TensorShape({up.columns})) return false;
        return !onto || ctx->input(4 + norm).shape() == x.shape();
    }
};

}  // namespace fourfold
