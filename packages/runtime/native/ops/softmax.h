/**
 * The causal softmax of attention and its gradient, one pass over each row (packages/ops/src/attention.ts).
 *
 *   FourfoldCausalSoftmax(scores [M, t, s]; start) -> p         row i of the t sees keys 0 to start + i
 *   FourfoldCausalSoftmaxGrad(p, dp; start) -> ds = p · (dp - Σ p · dp)
 *
 * What a row does not see is written as 0 and never read: on average half of the work.
 */
#pragma once
#include "kernel.h"

namespace fourfold {

/** A kernel over the rows of [M, t, s] that knows how many keys each row sees. */
class CausalRows : public OpKernel {
  public:
    explicit CausalRows(OpKernelConstruction* c) : OpKernel(c) { OP_REQUIRES_OK(c, c->GetAttr("start", &start_)); }

  protected:
    int64_t start_;

    /** Whether input 0 is [M, t, s] and every row sees a key. */
    bool Fits(OpKernelContext* ctx) const {
        return ctx->input(0).dims() == 3 && start_ >= 0 && start_ < ctx->input(0).dim_size(2);
    }

    /** Calls row(offset of its first element, how many it sees) for every row, and clears what lies beyond in `out`. */
    template <class Row>
    void ForEachRow(OpKernelContext* ctx, float* out, int64_t cycles, Row row) {
        const int64_t M = ctx->input(0).dim_size(0), t = ctx->input(0).dim_size(1), s = ctx->input(0).dim_size(2);
        const int64_t start = start_;
        ForRows(ctx, M * t, cycles * s, [=](int64_t first, int64_t last) {
            for (int64_t r = first; r < last; r++) {
                const int64_t seen = std::min(s, start + r % t + 1);
                row(r * s, seen);
                std::fill_n(out + r * s + seen, s - seen, 0.0f);
            }
        });
    }
};

class CausalSoftmax : public CausalRows {
  public:
    using CausalRows::CausalRows;

    void Compute(OpKernelContext* ctx) override {
        OP_REQUIRES(ctx, Fits(ctx), WrongShapes(ctx, "scores [M, t, s] and 0 <= start < s"));
        const float* scores = In(ctx, 0);
        float* p = OutLike(ctx, 0, 0);
        if (!ctx->status().ok()) return;
        ForEachRow(ctx, p, 4, [=](int64_t at, int64_t seen) {
            const float* in = scores + at;
            float* out = p + at;
            float most = in[0], sum = 0;
#pragma omp simd reduction(max : most)
            for (int64_t j = 0; j < seen; j++) most = in[j] > most ? in[j] : most;
#pragma omp simd reduction(+ : sum)
            for (int64_t j = 0; j < seen; j++) sum += out[j] = Exp(in[j] - most);
            const float scale = 1 / sum;
#pragma omp simd
            for (int64_t j = 0; j < seen; j++) out[j] *= scale;
        });
    }
};

class CausalSoftmaxGrad : public CausalRows {
  public:
    using CausalRows::CausalRows;

    void Compute(OpKernelContext* ctx) override {
        const bool fits = Fits(ctx) && SameShape(ctx, 0, 1);
        OP_REQUIRES(ctx, fits, WrongShapes(ctx, "p and dp [M, t, s] and 0 <= start < s"));
        const float *p = In(ctx, 0), *dp = In(ctx, 1);
        float* ds = OutLike(ctx, 0, 0);
        if (!ctx->status().ok()) return;
        ForEachRow(ctx, ds, 2, [=](int64_t at, int64_t seen) {
            float along = 0;
#pragma omp simd reduction(+ : along)
            for (int64_t j = 0; j < seen; j++) along += p[at + j] * dp[at + j];
#pragma omp simd
            for (int64_t j = 0; j < seen; j++) ds[at + j] = p[at + j] * (dp[at + j] - along);
        });
    }
};

REGISTER_OP("FourfoldCausalSoftmax")
    .Input("scores: float").Output("p: float").Attr("start: int")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->input(0));
        return absl::OkStatus();
    });
REGISTER_OP("FourfoldCausalSoftmaxGrad")
    .Input("p: float").Input("dp: float").Output("ds: float").Attr("start: int")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->input(0));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("FourfoldCausalSoftmax").Device(DEVICE_CPU), CausalSoftmax);
REGISTER_KERNEL_BUILDER(Name("FourfoldCausalSoftmaxGrad").Device(DEVICE_CPU), CausalSoftmaxGrad);

}  // namespace fourfold
