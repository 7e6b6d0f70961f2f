/**
 * On the GPU: a feed-forward that is several (../ops/experts.h has the op and its numbers), and what a sampler needs of
 * logits (../ops/best-logits.h).
 */
#pragma once
#include "../shapes/experts-shape.h"
#include "packed.h"

namespace fourfold::cuda {

class Experts : public GpuOp {
  public:
    explicit Experts(OpKernelConstruction* c) : GpuOp(c) {
        OP_REQUIRES_OK(c, numbers_.Read(c));
        up_ = Factor(numbers_.up, numbers_.rounded);
        down_ = Factor(numbers_.down, numbers_.rounded);
    }

  protected:
    void Run(OpKernelContext* ctx) override {
        Require(ctx, numbers_.Fits(ctx), "x [N, D], logits [N, E], up, down, a gain [D], onto [N, D]");
        const Tensor& x = ctx->input(0);
        const int64_t N = x.dim_size(0), D = numbers_.up.columns, visits = N * numbers_.active;
        const Tensor y = Output(ctx, 0, x.shape());
        const Lists lists = Choose(ctx, visits);
        Route route{Data(lists.order), Data(lists.starts), numbers_.count, numbers_.active};
        const Tensor hidden = Factor::Memory(ctx, visits * numbers_.up.rows), out = Factor::Memory(ctx, visits * D);
        const Preparation before{numbers_.Before(), numbers_.norm ? Data(ctx->input(4)) : nullptr, numbers_.epsilon};
        up_.Times(ctx, Data(ctx->input(2)), up_.Ready(ctx, before, Data(x), N), visits, nullptr, Data(hidden), route);
        const PreparedRows between = down_.Ready(ctx, {numbers_.Between()}, Data(hidden), visits);
        route.each = 1;
        down_.Times(ctx, Data(ctx->input(3)), between, visits, nullptr, Data(out), route);
        void* const onto = numbers_.onto ? Data(ctx->input(ctx->num_inputs() - 1)) : nullptr;
        Launch(ctx, Kernel(ctx, "combine"), {N, Blocks(D, 256)}, 256, Data(lists.experts), Data(lists.weights),
               Data(out), onto, static_cast<int>(D), Data(y));
    }

  private:
    /** Each row's experts and weights, and the visits by experts: experts.cu. */
    struct Lists {
        Tensor experts, weights, order, starts;
    };

    ExpertsNumbers numbers_;
    Factor up_, down_;

    CUfunction Kernel(OpKernelContext* ctx, const char* name) const {
        return Find("experts.cu", name, {Constant("E", ctx->input(1).dim_size(1)), Constant("ACTIVE", numbers_.active),
                                         Constant("FIRST", numbers_.first), Constant("COUNT", numbers_.count)});
    }

    Lists Choose(OpKernelContext* ctx, int64_t visits) const {
        const Lists lists{Factor::Memory(ctx, visits), Factor::Memory(ctx, visits), Factor::Memory(ctx, visits),
                          Factor::Memory(ctx, numbers_.count + 1)};
        Launch(ctx, Kernel(ctx, "choose"), {ctx->input(1).dim_size(0)}, 32, Data(ctx->input(1)), int(numbers_.normalized),
               Data(lists.experts), Data(lists.weights));
        Launch(ctx, Kernel(ctx, "sort_visits"), {1}, 256, Data(lists.experts), static_cast<int>(visits),
               Data(lists.order), Data(lists.starts));
        return lists;
    }
};

class BestLogits : public GpuOp {
  public:
    explicit BestLogits(OpKernelConstruction* c) : GpuOp(c), k_(Attribute<int>(c, "k")) {}

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor& logits = ctx->input(0);
        Require(ctx, logits.dims() == 2 && k_ >= 1 && k_ <= logits.dim_size(1), "logits [N, V] and k from 1 to V");
        const int64_t N = logits.dim_size(0);
        const int V = logits.dim_size(1);
        const Tensor ids = Output(ctx, 0, TensorShape({N, k_})), values = Output(ctx, 1, TensorShape({N, k_}));
        const Tensor sums = Output(ctx, 2, TensorShape({N})), chosen = Factor::Memory(ctx, N * k_);
        Launch(ctx, Find("best-logits.cu", "best_logits", {}), {N}, 1024, Data(logits), V, k_, Data(chosen), Data(ids),
               Data(values));
        Launch(ctx, Find("best-logits.cu", "log_sum_exp", {}), {N}, 1024, Data(logits), V, Data(sums));
    }

  private:
    const int k_;
};

REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldExperts"), Experts);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldBestLogits"), BestLogits);

}  // namespace fourfold::cuda
