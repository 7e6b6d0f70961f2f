/**
 * SwiGLU forward and backward, each in one pass (the equations stand in packages/ops/src/swiglu.ts).
 *
 *   FourfoldSwiglu(gate, up) -> y                   all of one shape
 *   FourfoldSwigluGrad(dy, gate, up) -> dgate, dup
 *
 * Backward computes the sigmoid again instead of reading it from memory: gate and up are all that is kept.
 */
#pragma once
#include "kernel.h"

namespace fourfold {

constexpr int64_t kSpan = 4096;  // elements that a thread takes at a time

class Swiglu : public OpKernel {
  public:
    using OpKernel::OpKernel;

    void Compute(OpKernelContext* ctx) override {
        OP_REQUIRES(ctx, SameShape(ctx, 0, 1), WrongShapes(ctx, "gate and up of one shape"));
        const int64_t size = ctx->input(0).NumElements();
        const float *gate = In(ctx, 0), *up = In(ctx, 1);
        float* y = OutLike(ctx, 0, 0);
        if (!ctx->status().ok()) return;
        ForRows(ctx, (size + kSpan - 1) / kSpan, 4 * kSpan, [=](int64_t first, int64_t last) {
            const int64_t end = std::min(size, last * kSpan);
#pragma omp simd
            for (int64_t i = first * kSpan; i < end; i++) y[i] = gate[i] / (1 + Exp(-gate[i])) * up[i];
        });
    }
};

class SwigluGrad : public OpKernel {
  public:
    using OpKernel::OpKernel;

    void Compute(OpKernelContext* ctx) override {
        const bool fits = SameShape(ctx, 0, 1) && SameShape(ctx, 0, 2);
        OP_REQUIRES(ctx, fits, WrongShapes(ctx, "dy, gate and up of one shape"));
        const int64_t size = ctx->input(0).NumElements();
        const float *dy = In(ctx, 0), *gate = In(ctx, 1), *up = In(ctx, 2);
        float *dgate = OutLike(ctx, 0, 1), *dup = OutLike(ctx, 1, 2);
        if (!ctx->status().ok()) return;
        ForRows(ctx, (size + kSpan - 1) / kSpan, 6 * kSpan, [=](int64_t first, int64_t last) {
            const int64_t end = std::min(size, last * kSpan);
#pragma omp simd
            for (int64_t i = first * kSpan; i < end; i++) {
                const float e = Exp(-gate[i]);
                const float s = 1 / (1 + e);
                const float a = gate[i] * s;
                dup[i] = dy[i] * a;
                dgate[i] = dy[i] * up[i] * (s + a * (e * s));  // e · s = 1 - s, without the loss of digits
            }
        });
    }
};

REGISTER_OP("FourfoldSwiglu")
    .Input("gate: T").Input("up: T").Output("y: T").Attr("T: {float, bfloat16}")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->input(0));
        return absl::OkStatus();
    });
REGISTER_OP("FourfoldSwigluGrad")
    .Input("dy: T").Input("gate: T").Input("up: T").Output("dgate: T").Output("dup: T")
    .Attr("T: {float, bfloat16}")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->input(1));
        c->set_output(1, c->input(2));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("FourfoldSwiglu").Device(DEVICE_CPU).TypeConstraint<float>("T"), Swiglu);
REGISTER_KERNEL_BUILDER(Name("FourfoldSwigluGrad").Device(DEVICE_CPU).TypeConstraint<float>("T"), SwigluGrad);

}  // namespace fourfold
