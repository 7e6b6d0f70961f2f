/**
 * RoPE in one pass (the equations stand in packages/ops/src/rope.ts).
 *
 *   FourfoldRope(x [B, T, J, K], cos [T, K], sin± [T, K]; turned, inverse, in_place) -> y like x
 *
 * The first `turned` heads of each token turn (q's and k's), the others are copied (v's), or stay where they are: y is
 * x's own memory if in_place. Each element meets its partner half a head away. Turning back, which is backward, is
 * turning with -sin.
 */
#pragma once
#include "kernel.h"

namespace fourfold {

class Rope : public OpKernel {
  public:
    explicit Rope(OpKernelConstruction* c) : OpKernel(c) {
        OP_REQUIRES_OK(c, c->GetAttr("inverse", &inverse_));
        OP_REQUIRES_OK(c, c->GetAttr("turned", &turned_));
        OP_REQUIRES_OK(c, c->GetAttr("in_place", &in_place_));
    }

    void Compute(OpKernelContext* ctx) override {
        const char* needed = "x [B, T, J, K], cos and sin [T, K], with K even and above 0, and no more than J turned";
        OP_REQUIRES(ctx, Fits(ctx), WrongShapes(ctx, needed));
        const TensorShape& shape = ctx->input(0).shape();
        const int64_t T = shape.dim_size(1), J = shape.dim_size(2), K = shape.dim_size(3), turned = turned_;
        const float *x = In(ctx, 0), *cos = In(ctx, 1), *sin = In(ctx, 2);
        const float sign = inverse_ ? -1.0f : 1.0f;
        if (in_place_) ctx->set_output(0, ctx->input(0));
        float* y = in_place_ ? const_cast<float*>(x) : OutLike(ctx, 0, 0);
        if (!ctx->status().ok()) return;
        ForRows(ctx, shape.dim_size(0) * T, 2 * J * K, [=](int64_t first, int64_t last) {
            for (int64_t n = first; n < last; n++) {
                const float *c = cos + n % T * K, *s = sin + n % T * K;
                const int64_t token = n * J * K, rest = turned * K;
                for (int64_t d = 0; d < rest; d += K) Turn(x + token + d, c, s, sign, K / 2, y + token + d);
                if (y != x) std::copy_n(x + token + rest, J * K - rest, y + token + rest);
            }
        });
    }

  private:
    bool inverse_, in_place_;
    int turned_;

    bool Fits(OpKernelContext* ctx) const {
        const TensorShape &x = ctx->input(0).shape(), &table = ctx->input(1).shape();
        if (x.dims() != 4 || !SameShape(ctx, 1, 2)) return false;
        const int64_t K = x.dim_size(3);
        return table == TensorShape({x.dim_size(1), K}) && K > 0 && K % 2 == 0 && turned_ <= x.dim_size(2);
    }

    /** One head of one token. */
    static void Turn(const float* x, const float* cos, const float* sin, float sign, int64_t half, float* y) {
#pragma omp simd
        for (int64_t i = 0; i < half; i++) {
            const float a = x[i], b = x[i + half];
            y[i] = a * cos[i] + b * (sign * sin[i]);
            y[i + half] = b * cos[i + half] + a * (sign * sin[i + half]);
        }
    }
};

REGISTER_OP("FourfoldRope")
    .Input("x: T").Input("cos: float").Input("sin: float").Output("y: T")
    .Attr("T: {float, bfloat16}").Attr("turned: int >= 0").Attr("inverse: bool").Attr("in_place: bool")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->input(0));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("FourfoldRope").Device(DEVICE_CPU).TypeConstraint<float>("T"), Rope);

}  // namespace fourfold
