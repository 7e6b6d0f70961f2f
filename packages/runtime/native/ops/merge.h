/**
 * Parts added to a whole where it lies: what ring attention does with the results of each block that comes by (the
 * equations stand at the head of packages/context-parallel/src/context-parallel.ts).
 *
 *   FourfoldMergeAttention(o [B, T, H, K], lse [B, H, T], part [B, Q, H, K], part_lse [B, H, Q]; start) -> o, lse
 *   FourfoldAddAt(sum [B, T, ...], part [B, Q, ...]; start) -> sum
 *
 * The outputs lie in the memory of o and lse, or of sum, of which places start to start + Q - 1 along time alone are
 * read and written: where a block is seen by the second half of the queries, the first is left alone. In a dozen stock
 * kernels a merge was five reads and three writes of o's size, and more where a part was padded with zeros.
 */
#pragma once
#include "kernel.h"

namespace fourfold {

class MergeAttention : public OpKernel {
  public:
    explicit MergeAttention(OpKernelConstruction* c) : OpKernel(c) { OP_REQUIRES_OK(c, c->GetAttr("start", &start_)); }

    void Compute(OpKernelContext* ctx) override {
        const char* needed = "o [B, T, H, K], lse [B, H, T], part [B, Q, H, K], part_lse [B, H, Q], start + Q up to T";
        OP_REQUIRES(ctx, Fits(ctx), WrongShapes(ctx, needed));
        const Tensor& whole = ctx->input(0);
        const int64_t B = whole.dim_size(0), T = whole.dim_size(1), H = whole.dim_size(2), K = whole.dim_size(3);
        const int64_t Q = ctx->input(2).dim_size(1), start = start_;
        float *o = const_cast<float*>(In(ctx, 0)), *lse = const_cast<float*>(In(ctx, 1));
        const float *part = In(ctx, 2), *part_lse = In(ctx, 3);
        ctx->set_output(0, whole);
        ctx->set_output(1, ctx->input(1));
        ForRows(ctx, B * Q, H * (2 * K + 50), [=](int64_t first, int64_t last) {
            for (int64_t n = first; n < last; n++)
                for (int64_t h = 0; h < H; h++) {
                    const int64_t b = n / Q, i = n % Q, head = b * H + h;
                    const float weight = Merge(lse + head * T + start + i, part_lse[head * Q + i]);
                    const float* from = part + (n * H + h) * K;
                    float* to = o + ((b * T + start + i) * H + h) * K;
#pragma omp simd
                    for (int64_t d = 0; d < K; d++) to[d] += weight * (from[d] - to[d]);
                }
        });
    }

  private:
    int64_t start_;

    bool Fits(OpKernelContext* ctx) const {
        const Tensor &o = ctx->input(0), &part = ctx->input(2);
        if (o.dims() != 4 || part.dims() != 4) return false;
        const int64_t B = o.dim_size(0), T = o.dim_size(1), H = o.dim_size(2), Q = part.dim_size(1);
        return part.shape() == TensorShape({B, Q, H, o.dim_size(3)}) && start_ >= 0 && start_ + Q <= T &&
               ctx->input(1).shape() == TensorShape({B, H, T}) && ctx->input(3).shape() == TensorShape({B, H, Q});
    }

    /** lse = log(exp(lse) + exp(part)), and what exp(part) is of that sum: the part's weight. */
    static float Merge(float* lse, float part) {
        const float difference = part - *lse;
        *lse += std::max(difference, 0.0f) + std::log1p(std::exp(-std::abs(difference)));
        return 1 / (1 + std::exp(-difference));
    }
};

class AddAt : public OpKernel {
  public:
    explicit AddAt(OpKernelConstruction* c) : OpKernel(c) { OP_REQUIRES_OK(c, c->GetAttr("start", &start_)); }

    void Compute(OpKernelContext* ctx) override {
        OP_REQUIRES(ctx, Fits(ctx), WrongShapes(ctx, "sum [B, T, ...] and part [B, Q, ...], start + Q up to T"));
        const Tensor &whole = ctx->input(0), &part_tensor = ctx->input(1);
        const int64_t T = whole.dim_size(1), Q = part_tensor.dim_size(1), rows = whole.dim_size(0) * Q;
        const int64_t length = rows > 0 ? part_tensor.NumElements() / rows : 0, start = start_;
        float* sum = const_cast<float*>(In(ctx, 0));
        const float* part = In(ctx, 1);
        ctx->set_output(0, whole);
        ForRows(ctx, rows, length, [=](int64_t first, int64_t last) {
            for (int64_t n = first; n < last; n++) {
                const float* from = part + n * length;
                float* to = sum + (n / Q * T + start + n % Q) * length;
#pragma omp simd
                for (int64_t d = 0; d < length; d++) to[d] += from[d];
            }
        });
    }

  private:
    int64_t start_;

    bool Fits(OpKernelContext* ctx) const {
        TensorShape shape = ctx->input(0).shape();
        const Tensor& part = ctx->input(1);
        if (shape.dims() < 2 || part.dims() < 2 || start_ < 0) return false;
        if (start_ + part.dim_size(1) > shape.dim_size(1)) return false;
        shape.set_dim(1, part.dim_size(1));
        return part.shape() == shape;
    }
};

REGISTER_OP("FourfoldMergeAttention")
    .Input("o: float").Input("lse: float").Input("part: T").Input("part_lse: float")
    .Output("merged: float").Output("merged_lse: float").Attr("T: {float, bfloat16}").Attr("start: int")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->input(0));
        c->set_output(1, c->input(1));
        return absl::OkStatus();
    });
REGISTER_OP("FourfoldAddAt")
    .Input("sum: float").Input("part: T").Output("sums: float").Attr("T: {float, bfloat16}").Attr("start: int")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->input(0));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("FourfoldMergeAttention").Device(DEVICE_CPU).TypeConstraint<float>("T"), MergeAttention);
REGISTER_KERNEL_BUILDER(Name("FourfoldAddAt").Device(DEVICE_CPU).TypeConstraint<float>("T"), AddAt);

}  // namespace fourfold
