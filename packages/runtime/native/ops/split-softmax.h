/**
 * The loss of logits that n ranks share out by words, V each: before and after they hear of each other (the equations
 * stand in packages/ops/src/split-softmax.ts).
 *
 *   FourfoldLogitStatistics(logits [C, V], targets [C]; first) -> stats [C, 3]
 *   FourfoldLogitGradient(logits, targets, stats [n · C, 3]; first, gradients, weight) -> losses [C], dlogits [C, V]
 *
 * This rank has words `first` to first + V - 1. Of a token's V logits the first op finds the largest, the sum of
 * exp(logit - largest), and the target's if it is among them, else 0: 12 bytes, where the row has 100 KB. The second
 * takes those of all ranks, one rank's after the other, and puts them together in this order on every rank, so that
 * all have the same bits. It reads the logits once more and writes dlogits over them (cross-entropy.h).
 */
#pragma once
#include "cross-entropy.h"

namespace fourfold {

/** What both ops have: rows of logits, and targets counted from this rank's first word. */
class SplitSoftmaxKernel : public OpKernel {
  public:
    explicit SplitSoftmaxKernel(OpKernelConstruction* c) : OpKernel(c) {
        OP_REQUIRES_OK(c, c->GetAttr("first", &first_));
    }

  protected:
    struct Logits {
        float* rows;
        const int32_t* targets;
        int64_t C, V, first;

        float* Row(int64_t c) const { return rows + c * V; }
        int64_t Target(int64_t c) const { return targets[c] - first; }
    };

    static bool Fits(OpKernelContext* ctx) { return ctx->input(0).dims() == 2 && IsAlong(ctx, 1, 0); }

    Logits LogitsOf(OpKernelContext* ctx) const {
        const Tensor& logits = ctx->input(0);
        return {const_cast<float*>(In(ctx, 0)), ctx->input(1).flat<int32_t>().data(), logits.dim_size(0),
                logits.dim_size(1), first_};
    }

  private:
    int64_t first_;
};

class LogitStatistics : public SplitSoftmaxKernel {
  public:
    using SplitSoftmaxKernel::SplitSoftmaxKernel;

    void Compute(OpKernelContext* ctx) override {
        OP_REQUIRES(ctx, Fits(ctx), WrongShapes(ctx, "logits [C, V] and targets [C]"));
        const Logits logits = LogitsOf(ctx);
        Tensor* stats_tensor = nullptr;
        OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({logits.C, 3}), &stats_tensor));
        float* stats = stats_tensor->flat<float>().data();
        ForRows(ctx, logits.C, 4 * logits.V, [=](int64_t begin, int64_t end) {
            for (int64_t c = begin; c < end; c++) {
                const int64_t target = logits.Target(c);
                const Softmax softmax = SoftmaxOf(logits.Row(c), logits.V);
                stats[3 * c] = softmax.most;
                stats[3 * c + 1] = softmax.sum;
                stats[3 * c + 2] = IsWord(target, logits.V) ? logits.Row(c)[target] : 0;
            }
        });
    }
};

class LogitGradient : public SplitSoftmaxKernel {
  public:
    explicit LogitGradient(OpKernelConstruction* c) : SplitSoftmaxKernel(c) {
        OP_REQUIRES_OK(c, c->GetAttr("gradients", &gradients_));
        OP_REQUIRES_OK(c, c->GetAttr("weight", &weight_));
    }

    void Compute(OpKernelContext* ctx) override {
        const Tensor& all = ctx->input(2);
        const bool fits = Fits(ctx) && ctx->input(0).dim_size(0) > 0 && all.dims() == 2 && all.dim_size(1) == 3 &&
                          all.dim_size(0) > 0 && all.dim_size(0) % ctx->input(0).dim_size(0) == 0;
        OP_REQUIRES(ctx, fits, WrongShapes(ctx, "logits [C, V], targets [C] and stats [n · C, 3], C and n above 0"));
        const Logits logits = LogitsOf(ctx);
        const int64_t n = all.dim_size(0) / logits.C;
        const float* stats = In(ctx, 2);
        float* losses = LossOutputs(ctx, gradients_);
        if (!ctx->status().ok()) return;
        ForRows(ctx, logits.C, gradients_ ? 4 * logits.V : n, [=, this](int64_t begin, int64_t end) {
            for (int64_t c = begin; c < end; c++) {
                const Token token = Merged(stats + 3 * c, 3 * logits.C, n);
                const bool exists = IsWord(logits.targets[c], n * logits.V);
                const float logit = exists ? token.logit : std::numeric_limits<float>::quiet_NaN();
                losses[c] = std::log(token.softmax.sum) - (logit - token.softmax.most);
                if (gradients_) WriteGradient(logits.Row(c), logits.V, token.softmax, logits.Target(c), weight_);
            }
        });
    }

  private:
    bool gradients_;
    float weight_;

    /** What there is to know of a token's logits on all ranks. */
    struct Token {
        Softmax softmax;
        float logit = 0;  // the target's
    };

    /** From the three numbers of each of n ranks, which lie `apart` floats apart. */
    static Token Merged(const float* stats, int64_t apart, int64_t n) {
        Token token;
        for (int64_t r = 0; r < n; r++) token.softmax.most = std::max(token.softmax.most, stats[r * apart]);
        for (int64_t r = 0; r < n; r++) {
            const float* of = stats + r * apart;
            token.softmax.sum += of[1] * std::exp(of[0] - token.softmax.most);
            token.logit += of[2];
        }
        return token;
    }
};

REGISTER_OP("FourfoldLogitStatistics")
    .Input("logits: T").Input("targets: int32").Output("stats: float").Attr("T: {float, bfloat16}").Attr("first: int")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->Matrix(c->Dim(c->input(0), 0), 3));
        return absl::OkStatus();
    });
REGISTER_OP("FourfoldLogitGradient")
    .Input("logits: T").Input("targets: int32").Input("stats: float").Output("losses: float").Output("dlogits: T")
    .Attr("T: {float, bfloat16}").Attr("first: int").Attr("gradients: bool").Attr("weight: float")
    .SetShapeFn(LossShapes);
REGISTER_KERNEL_BUILDER(Name("FourfoldLogitStatistics").Device(DEVICE_CPU).TypeConstraint<float>("T"), LogitStatistics);
REGISTER_KERNEL_BUILDER(Name("FourfoldLogitGradient").Device(DEVICE_CPU).TypeConstraint<float>("T"), LogitGradient);

}  // namespace fourfold
