/**
 * RoPE in one pass (the equations stand in packages/ops/src/rope.ts).
 *
 *   FourfoldRope(q [B, T, H, K], k [B, T, G, K], cos [T, K], sin± [T, K]; inverse) -> q and k turned
 *
 * Each element meets its partner half a head away. Turning back, which is backward, is turning with -sin.
 */
#pragma once
#include "kernel.h"

namespace fourfold {

class Rope : public OpKernel {
  public:
    explicit Rope(OpKernelConstruction* c) : OpKernel(c) { OP_REQUIRES_OK(c, c->GetAttr("inverse", &inverse_)); }

    void Compute(OpKernelContext* ctx) override {
        const char* needed = "q [B, T, H, K], k [B, T, G, K], cos and sin [T, K], with K even and above 0";
        OP_REQUIRES(ctx, Fits(ctx), WrongShapes(ctx, needed));
        const TensorShape& shape = ctx->input(0).shape();
        const int64_t T = shape.dim_size(1), H = shape.dim_size(2), K = shape.dim_size(3);
        const int64_t G = ctx->input(1).dim_size(2);
        const float *q = In(ctx, 0), *k = In(ctx, 1), *cos = In(ctx, 2), *sin = In(ctx, 3);
        const float sign = inverse_ ? -1.0f : 1.0f;
        float *q_turned = OutLike(ctx, 0, 0), *k_turned = OutLike(ctx, 1, 1);
        if (!ctx->status().ok()) return;
        ForRows(ctx, shape.dim_size(0) * T, 2 * (H + G) * K, [=](int64_t first, int64_t last) {
            for (int64_t n = first; n < last; n++) {
                const float *c = cos + n % T * K, *s = sin + n % T * K;
                for (int64_t h = n * H; h < (n + 1) * H; h++) Turn(q + h * K, c, s, sign, K / 2, q_turned + h * K);
                for (int64_t g = n * G; g < (n + 1) * G; g++) Turn(k + g * K, c, s, sign, K / 2, k_turned + g * K);
            }
        });
    }

  private:
    bool inverse_;

    static bool Fits(OpKernelContext* ctx) {
        const TensorShape &q = ctx->input(0).shape(), &k = ctx->input(1).shape(), &table = ctx->input(2).shape();
        if (q.dims() != 4 || k.dims() != 4 || !SameShape(ctx, 2, 3)) return false;
        const int64_t T = q.dim_size(1), K = q.dim_size(3);
        const bool alike = k.dim_size(0) == q.dim_size(0) && k.dim_size(1) == T && k.dim_size(3) == K;
        return alike && table == TensorShape({T, K}) && K > 0 && K % 2 == 0;
    }

    /** One head of one token. */
    static void Turn(const float* x, const float* cos, const float* sin, float sign, int64_t half, float* y) {
#pragma omp simd
        for (int64_t i = 0; i < half; i++) {
            y[i] = x[i] * cos[i] + x[i + half] * (sign * sin[i]);
            y[i + half] = x[i + half] * cos[i + half] + x[i] * (sign * sin[i + half]);
        }
    }
};

REGISTER_OP("FourfoldRope")
    .Input("q: T").Input("k: T").Input("cos: float").Input("sin: float").Output("q_turned: T").Output("k_turned: T")
    .Attr("T: {float, bfloat16}").Attr("inverse: bool")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->input(0));
        c->set_output(1, c->input(1));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("FourfoldRope").Device(DEVICE_CPU).TypeConstraint<float>("T"), Rope);

}  // namespace fourfold
