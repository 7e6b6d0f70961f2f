/**
 * On the GPU: a feed-forward that is several (../ops/experts.h has the op and its numbers), and what a sampler needs of
 * logits (../ops/best-logits.h).
 */
#pragma once
#include "packed.h"

namespace fourfold::cuda {

class Experts : public GpuOp {
  public:
    explicit Experts(OpKernelConstruction* c) : GpuOp(c) {
        std::vector<int32_t> shapes, how;
        Panels up, down;
        OP_REQUIRES_OK(c, ReadInts(c, "shapes", 6, &shapes));
        OP_REQUIRES_OK(c, ReadInts(c, "how", 8, &how));
        OP_REQUIRES_OK(c, ReadPanels(shapes, 0, &up));
        OP_REQUIRES_OK(c, ReadPanels(shapes, 3, &down));
        OP_REQUIRES_OK(c, c->GetAttr("epsilon", &epsilon_));
        OP_REQUIRES(c, up.rows == 2 * down.columns && down.rows == up.columns && how[0] >= 0 && how[1] >= 1,
                    absl::InvalidArgumentError("experts are up [2F, D] and down [D, F]"));
        up_ = Factor(up, how[6] != 0);
        down_ = Factor(down, how[6] != 0);
        first_ = how[0], count_ = how[1], active_ = how[2];
        normalized_ = how[3] != 0, norm_ = how[4] != 0, onto_ = how[5] != 0, gelu_ = how[7] != 0;
    }

  protected:
    void Run(OpKernelContext* ctx) override {
        Require(ctx, Fits(ctx), "x [N, D], logits [N, E], up, down, a gain [D], onto [N, D]");
        const Tensor& x = ctx->input(0);
        const int64_t N = x.dim_size(0), D = up_.panels.columns, visits = N * active_;
        const Tensor y = Output(ctx, 0, x.shape());
        const Lists lists = Choose(ctx, visits);
        Route route{Data(lists.order), Data(lists.starts), count_, active_};
        const Tensor hidden = Factor::Memory(ctx, visits * up_.panels.rows), out = Factor::Memory(ctx, visits * D);
        const Preparation norm{Prepare::kNorm, norm_ ? Data(ctx->input(4)) : nullptr, epsilon_};
        const PreparedRows before = up_.Ready(ctx, norm_ ? norm : Preparation(), Data(x), N);
        up_.Times(ctx, Data(ctx->input(2)), before, visits, nullptr, Data(hidden), route);
        const Preparation gate{gelu_ ? Prepare::kGeglu : Prepare::kSwiglu};
        const PreparedRows between = down_.Ready(ctx, gate, Data(hidden), visits);
        route.each = 1;
        down_.Times(ctx, Data(ctx->input(3)), between, visits, nullptr, Data(out), route);
        void* const onto = onto_ ? Data(ctx->input(ctx->num_inputs() - 1)) : nullptr;
        Launch(ctx, Kernel(ctx, "combine"), {N, Blocks(D, 256)}, 256, Data(lists.experts), Data(lists.weights),
               Data(out), onto, static_cast<int>(D), Data(y));
    }

  private:
    /** Each row's experts and weights, and the visits by experts: experts.cu. */
    struct Lists {
        Tensor experts, weights, order, starts;
    };

    Factor up_, down_;
    int first_, count_, active_;
    bool normalized_, norm_, onto_, gelu_;
    float epsilon_;

    bool Fits(OpKernelContext* ctx) const {
        const Tensor &x = ctx->input(0), &logits = ctx->input(1);
        if (ctx->num_inputs() != 4 + norm_ + onto_ || x.dims() != 2 || logits.dims() != 2) return false;
        if (x.dim_size(1) != up_.panels.columns || logits.dim_size(0) != x.dim_size(0)) return false;
        if (active_ < 1 || active_ > logits.dim_size(1) || first_ + count_ > logits.dim_size(1)) return false;
        if (!HoldsPanels(ctx, 2, up_.panels, count_) || !HoldsPanels(ctx, 3, down_.panels, count_)) return false;
        if (norm_ && ctx->input(4).shape() != TensorShape({up_.panels.columns})) return false;
        return !onto_ || Same(ctx, 0, 4 + norm_);
    }

    CUfunction Kernel(OpKernelContext* ctx, const char* name) const {
        return Find("experts.cu", name, {Constant("E", ctx->input(1).dim_size(1)), Constant("ACTIVE", active_),
                                         Constant("FIRST", first_), Constant("COUNT", count_)});
    }

    Lists Choose(OpKernelContext* ctx, int64_t visits) const {
        const Lists lists{Factor::Memory(ctx, visits), Factor::Memory(ctx, visits), Factor::Memory(ctx, visits),
                          Factor::Memory(ctx, count_ + 1)};
        Launch(ctx, Kernel(ctx, "choose"), {ctx->input(1).dim_size(0)}, 32, Data(ctx->input(1)), int(normalized_),
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
