/**
 * SwiGLU forward and backward, each in one pass (the equations stand in packages/ops/src/swiglu.ts).
 *
 *   FourfoldSwiglu(x [N, 2F]) -> y [N, F]                         x: gate and up, beside one another in each row
 *   FourfoldSwigluGrad(dy [N, F], x [N, 2F]) -> dx [N, 2F]
 *
 * Backward computes the sigmoid again instead of reading it from memory: gate and up are all that is kept.
 */
#pragma once
#include "kernel.h"

namespace fourfold {

class Swiglu : public OpKernel {
  public:
    using OpKernel::OpKernel;

    void Compute(OpKernelContext* ctx) override {
        const Tensor& x_tensor = ctx->input(0);
        OP_REQUIRES(ctx, x_tensor.dims() == 2 && x_tensor.dim_size(1) % 2 == 0, WrongShapes(ctx, "x [N, 2F]"));
        const int64_t N = x_tensor.dim_size(0), F = x_tensor.dim_size(1) / 2;
        const float* x = In(ctx, 0);
        float* y = Out(ctx, 0, TensorShape({N, F}));
        if (!ctx->status().ok()) return;
        ForRows(ctx, N, 4 * F, [=](int64_t first, int64_t last) {
            for (int64_t n = first; n < last; n++) Row(x + 2 * n * F, F, y + n * F);
        });
    }

  private:
    static void Row(const float* gate, int64_t F, float* y) {
        const float* up = gate + F;
#pragma omp simd
        for (int64_t i = 0; i < F; i++) y[i] = gate[i] / (1 + Exp(-gate[i])) * up[i];
    }
};

class SwigluGrad : public OpKernel {
  public:
    using OpKernel::OpKernel;

    void Compute(OpKernelContext* ctx) override {
        const Tensor &dy_tensor = ctx->input(0), &x_tensor = ctx->input(1);
        const bool matrices = dy_tensor.dims() == 2 && x_tensor.dims() == 2;
        const bool fits = matrices && dy_tensor.dim_size(0) == x_tensor.dim_size(0) &&
                          2 * dy_tensor.dim_size(1) == x_tensor.dim_size(1);
        OP_REQUIRES(ctx, fits, WrongShapes(ctx, "dy [N, F] and x [N, 2F]"));
        const int64_t N = dy_tensor.dim_size(0), F = dy_tensor.dim_size(1);
        const float *dy = In(ctx, 0), *x = In(ctx, 1);
        float* dx = OutLike(ctx, 0, 1);
        if (!ctx->status().ok()) return;
        ForRows(ctx, N, 6 * F, [=](int64_t first, int64_t last) {
            for (int64_t n = first; n < last; n++) Row(dy + n * F, x + 2 * n * F, F, dx + 2 * n * F);
        });
    }

  private:
    static void Row(const float* dy, const float* gate, int64_t F, float* dgate) {
        const float* up = gate + F;
        float* dup = dgate + F;
#pragma omp simd
        for (int64_t i = 0; i < F; i++) {
            const float e = Exp(-gate[i]);
            const float s = 1 / (1 + e);
            const float a = gate[i] * s;
            dup[i] = dy[i] * a;
            dgate[i] = dy[i] * up[i] * (s + a * (e * s));  // e · s = 1 - s, without the loss of digits
        }
    }
};

REGISTER_OP("FourfoldSwiglu")
    .Input("x: T").Output("y: T").Attr("T: {float, bfloat16}")
    .SetShapeFn([](InferenceContext* c) {
        ShapeHandle x;
        DimensionHandle F;
        TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &x));
        TF_RETURN_IF_ERROR(c->Divide(c->Dim(x, 1), 2, true, &F));
        c->set_output(0, c->Matrix(c->Dim(x, 0), F));
        return absl::OkStatus();
    });
REGISTER_OP("FourfoldSwigluGrad")
    .Input("dy: T").Input("x: T").Output("dx: T").Attr("T: {float, bfloat16}")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->input(1));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("FourfoldSwiglu").Device(DEVICE_CPU).TypeConstraint<float>("T"), Swiglu);
REGISTER_KERNEL_BUILDER(Name("FourfoldSwigluGrad").Device(DEVICE_CPU).TypeConstraint<float>("T"), SwigluGrad);

}  // namespace fourfold
