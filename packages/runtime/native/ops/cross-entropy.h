/**
 * The softmax's loss and its gradient, the logits read twice and written once (the equations stand in
 * packages/ops/src/cross-entropy.ts).
 *
 *   FourfoldCrossEntropy(logits [C, V], targets [C]; gradients, weight) -> losses [C], dlogits [C, V]
 *
 *   loss = log Σ exp(logit) - target's logit       dlogit = weight · (softmax - (1 at the target))
 *
 * dlogits are written over the logits, whose memory output 1 is: a row of V logits is 100 KB and more, all rows are the
 * largest matrix of a training step, and nobody needs them after this. Without gradients output 1 is empty.
 */
#pragma once
#include <limits>

#include "kernel.h"

namespace fourfold {

class CrossEntropy : public OpKernel {
  public:
    explicit CrossEntropy(OpKernelConstruction* c) : OpKernel(c) {
        OP_REQUIRES_OK(c, c->GetAttr("gradients", &gradients_));
        OP_REQUIRES_OK(c, c->GetAttr("weight", &weight_));
    }

    void Compute(OpKernelContext* ctx) override {
        const Tensor& logits = ctx->input(0);
        OP_REQUIRES(ctx, logits.dims() == 2 && IsAlong(ctx, 1, 0), WrongShapes(ctx, "logits [C, V] and targets [C]"));
        const int64_t C = logits.dim_size(0), V = logits.dim_size(1);
        Tensor *losses_tensor = nullptr, *none = nullptr;
        OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({C}), &losses_tensor));
        if (gradients_) ctx->set_output(1, logits);
        else OP_REQUIRES_OK(ctx, ctx->allocate_output(1, TensorShape({0}), &none));
        float *rows = const_cast<float*>(In(ctx, 0)), *losses = losses_tensor->flat<float>().data();
        const int32_t* targets = ctx->input(1).flat<int32_t>().data();
        ForRows(ctx, C, 8 * V, [=, this](int64_t first, int64_t last) {
            for (int64_t c = first; c < last; c++) losses[c] = Row(rows + c * V, V, targets[c]);
        });
    }

  private:
    bool gradients_;
    float weight_;
    static constexpr int64_t kBlock = 1024;  // logits: 4 KiB, in the cache between their maximum and their sum

    /** The loss of one row; where gradients are wanted they replace the row. A target that isn't there gives NaN. */
    float Row(float* row, int64_t V, int32_t target) const {
        float most = std::numeric_limits<float>::lowest(), sum = 0;
        for (int64_t v = 0; v < V; v += kBlock) AddBlock(row + v, std::min(kBlock, V - v), &most, &sum);
        const bool exists = target >= 0 && target < V;
        const float logit = exists ? row[target] : std::numeric_limits<float>::quiet_NaN();
        if (gradients_) {
            const float factor = weight_ / sum;
#pragma omp simd
            for (int64_t v = 0; v < V; v++) row[v] = factor * Exp(row[v] - most);
            if (exists) row[target] -= weight_;
        }
        return std::log(sum) - (logit - most);
    }

    /** sum = Σ exp(logit - most) of a block more: if that has a larger logit, the sum so far becomes relative to it. */
    static void AddBlock(const float* block, int64_t length, float* most, float* sum) {
        float larger = *most, part = 0;
#pragma omp simd reduction(max : larger)
        for (int64_t v = 0; v < length; v++) larger = block[v] > larger ? block[v] : larger;
#pragma omp simd reduction(+ : part)
        for (int64_t v = 0; v < length; v++) part += Exp(block[v] - larger);
        *sum = *sum * std::exp(*most - larger) + part;
        *most = larger;
    }
};

REGISTER_OP("FourfoldCrossEntropy")
    .Input("logits: T").Input("targets: int32").Output("losses: float").Output("dlogits: T")
    .Attr("T: {float, bfloat16}").Attr("gradients: bool").Attr("weight: float")
    .SetShapeFn([](InferenceContext* c) {
        bool gradients;
        TF_RETURN_IF_ERROR(c->GetAttr("gradients", &gradients));
        c->set_output(0, c->Vector(c->Dim(c->input(0), 0)));
        c->set_output(1, gradients ? c->input(0) : c->Vector(0));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("FourfoldCrossEntropy").Device(DEVICE_CPU).TypeConstraint<float>("T"), CrossEntropy);

}  // namespace fourfold
