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

/** The largest of some logits, and the sum of exp(logit - largest). */
struct Softmax {
    float most = std::numeric_limits<float>::lowest(), sum = 0;

    /** Some logits more: if one of them is larger, the sum so far becomes relative to it. */
    void Add(const float* block, int64_t length) {
        float larger = most, part = 0;
#pragma omp simd reduction(max : larger)
        for (int64_t v = 0; v < length; v++) larger = block[v] > larger ? block[v] : larger;
#pragma omp simd reduction(+ : part)
        for (int64_t v = 0; v < length; v++) part += Exp(block[v] - larger);
        sum = sum * std::exp(most - larger) + part;
        most = larger;
    }
};

/** Of a row, 1,024 logits at a time: 4 KiB, which are in the cache between their maximum and their sum. */
inline Softmax SoftmaxOf(const float* row, int64_t V) {
    constexpr int64_t kBlock = 1024;
    Softmax softmax;
    for (int64_t v = 0; v < V; v += kBlock) softmax.Add(row + v, std::min(kBlock, V - v));
    return softmax;
}

/** Whether target v is one of V words. */
inline bool IsWord(int64_t v, int64_t V) { return v >= 0 && v < V; }

/** Writes weight · (softmax - 1 at the target) over a row of logits; the target may be a word that isn't in it. */
inline void WriteGradient(float* row, int64_t V, const Softmax& softmax, int64_t target, float weight) {
    const float factor = weight / softmax.sum, most = softmax.most;
#pragma omp simd
    for (int64_t v = 0; v < V; v++) row[v] = factor * Exp(row[v] - most);
    if (IsWord(target, V)) row[target] -= weight;
}

/**
 * The outputs of ops that compute losses: output 0, [C], and with gradients output 1 in the logits' memory, without
 * them empty. Where there is no memory, the context's status says so.
 */
inline float* LossOutputs(OpKernelContext* ctx, bool gradients) {
    const Tensor& logits = ctx->input(0);
    Tensor *losses = nullptr, *none = nullptr;
    ctx->SetStatus(ctx->allocate_output(0, TensorShape({logits.dim_size(0)}), &losses));
    if (gradients) ctx->set_output(1, logits);
    else ctx->SetStatus(ctx->allocate_output(1, TensorShape({0}), &none));
    return ctx->status().ok() ? losses->flat<float>().data() : nullptr;
}

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
        float *rows = const_cast<float*>(In(ctx, 0)), *losses = LossOutputs(ctx, gradients_);
        if (!ctx->status().ok()) return;
        const int32_t* targets = ctx->input(1).flat<int32_t>().data();
        ForRows(ctx, C, 8 * V, [=, this](int64_t first, int64_t last) {
            for (int64_t c = first; c < last; c++) losses[c] = Row(rows + c * V, V, targets[c]);
        });
    }

  private:
    bool gradients_;
    float weight_;

    /** The loss of one row; where gradients are wanted they replace the row. A target that isn't there gives NaN. */
    float Row(float* row, int64_t V, int32_t target) const {
        const Softmax softmax = SoftmaxOf(row, V);
        const float logit = IsWord(target, V) ? row[target] : std::numeric_limits<float>::quiet_NaN();
        if (gradients_) WriteGradient(row, V, softmax, target, weight_);
        return std::log(softmax.sum) - (logit - softmax.most);
    }
};

inline absl::Status LossShapes(InferenceContext* c) {
    bool gradients;
    TF_RETURN_IF_ERROR(c->GetAttr("gradients", &gradients));
    c->set_output(0, c->Vector(c->Dim(c->input(0), 0)));
    c->set_output(1, gradients ? c->input(0) : c->Vector(0));
    return absl::OkStatus();
}

REGISTER_OP("FourfoldCrossEntropy")
    .Input("logits: T").Input("targets: int32").Output("losses: float").Output("dlogits: T")
    .Attr("T: {float, bfloat16}").Attr("gradients: bool").Attr("weight: float").SetShapeFn(LossShapes);
REGISTER_KERNEL_BUILDER(Name("FourfoldCrossEntropy").Device(DEVICE_CPU).TypeConstraint<float>("T"), CrossEntropy);

}  // namespace fourfold
