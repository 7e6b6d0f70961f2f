/** Parts added to wholes where they lie, on the GPU (ops/merge.h says what the ops take). */
#pragma once
#include "op.h"

namespace fourfold::cuda {

/** What both ops have: queries or keys `start` and on, and an output that is input 0's memory. */
class MergeOp : public GpuOp {
  public:
    explicit MergeOp(OpKernelConstruction* c) : GpuOp(c), start_(Attribute<int64_t>(c, "start")) {}

  protected:
    /** Whether input `part` is as input 0 at some places along time. */
    bool FitsAt(OpKernelContext* ctx, int part) const {
        TensorShape whole = ctx->input(0).shape();
        const TensorShape& shape = ctx->input(part).shape();
        if (whole.dims() < 2 || shape.dims() < 2 || start_ < 0) return false;
        if (start_ + shape.dim_size(1) > whole.dim_size(1)) return false;
        whole.set_dim(1, shape.dim_size(1));
        return shape == whole;
    }

    const int64_t start_;
};

/** o and lse with a part merged in, where they lie. */
class MergeAttention : public MergeOp {
  public:
    using MergeOp::MergeOp;

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &o = ctx->input(0), &lse = ctx->input(1), &part = ctx->input(2), &part_lse = ctx->input(3);
        const char* needed = "o [B, T, H, K], lse [B, H, T], part [B, Q, H, K], part_lse [B, H, Q], start + Q up to T";
        Require(ctx, o.dims() == 4 && FitsAt(ctx, 2), needed);
        const int64_t B = o.dim_size(0), tokens = o.dim_size(1), queries = part.dim_size(1);
        const int64_t H = o.dim_size(2), K = o.dim_size(3);
        const TensorShape whole_lengths({B, H, tokens}), lengths({B, H, queries});
        Require(ctx, lse.shape() == whole_lengths && part_lse.shape() == lengths, needed);
        ctx->set_output(0, o);
        ctx->set_output(1, lse);
        const int width = WidthFor(part.dtype(), K);
        const Given given{Type("T", part.dtype()), Constant("H", H), Constant("K", K), Constant("WIDTH", width)};
        Launch(ctx, Find("merge-attention.cu", "merge_attention", given), {B * queries}, 256, Data(o), Data(lse),
               Data(part), Data(part_lse), tokens, queries, start_);
    }
};

/** sum with a part added, where it lies. */
class AddAt : public MergeOp {
  public:
    using MergeOp::MergeOp;

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &sum = ctx->input(0), &part = ctx->input(1);
        Require(ctx, FitsAt(ctx, 1), "sum [B, T, ...] and part [B, Q, ...], start + Q up to T");
        ctx->set_output(0, sum);
        if (part.NumElements() == 0) return;
        const int64_t B = sum.dim_size(0), count = part.NumElements() / B, row = count / part.dim_size(1);
        const int width = WidthFor(part.dtype(), row);
        const CUfunction kernel = Find("add-at.cu", "add_at", {Type("T", part.dtype()), Constant("WIDTH", width)});
        Launch(ctx, kernel, {Blocks(count / width, 256), B}, 256, Data(sum), Data(part), count,
               row * sum.dim_size(1), row * start_);
    }
};

REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldMergeAttention"), MergeAttention);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldAddAt"), AddAt);

}  // namespace fourfold::cuda
