/**
 * RoPE in one pass (the equations stand in packages/ops/src/rope.ts).
 *
 *   FourfoldRope(x [..., T, K], cos [T, K], sin± [T, K]; inverse) -> y
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
        OP_REQUIRES(ctx, Fits(ctx), WrongShapes(ctx, "x [..., T, K], cos and sin [T, K], with K even and above 0"));
        const int64_t T = ctx->input(1).dim_size(0), K = ctx->input(1).dim_size(1), half = K / 2;
        const int64_t rows = ctx->input(0).NumElements() / K;
        const float *x = In(ctx, 0), *cos = In(ctx, 1), *sin = In(ctx, 2);
        const float sign = inverse_ ? -1.0f : 1.0f;
        float* y = OutLike(ctx, 0, 0);
        if (!ctx->status().ok()) return;
        ForRows(ctx, rows, 2 * K, [=](int64_t first, int64_t last) {
            for (int64_t row = first; row < last; row++) {
                const float *in = x + row * K, *c = cos + row % T * K, *s = sin + row % T * K;
                float* out = y + row * K;
#pragma omp simd
                for (int64_t i = 0; i < half; i++) {
                    out[i] = in[i] * c[i] + in[i + half] * (sign * s[i]);
                    out[i + half] = in[i + half] * c[i + half] + in[i] * (sign * s[i + half]);
                }
            }
        });
    }

  private:
    bool inverse_;

    static bool Fits(OpKernelContext* ctx) {
        const TensorShape &x = ctx->input(0).shape(), &table = ctx->input(1).shape();
        if (table.dims() != 2 || x.dims() < 2 || !SameShape(ctx, 1, 2)) return false;
        const int64_t T = table.dim_size(0), K = table.dim_size(1);
        return x.dim_size(x.dims() - 2) == T && x.dim_size(x.dims() - 1) == K && K > 0 && K % 2 == 0;
    }
};

REGISTER_OP("FourfoldRope")
    .Input("x: float").Input("cos: float").Input("sin: float").Output("y: float").Attr("inverse: bool")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->input(0));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("FourfoldRope").Device(DEVICE_CPU), Rope);

}  // namespace fourfold
