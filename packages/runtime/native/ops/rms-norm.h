/**
 * RMSNorm forward and backward, each in one pass over the rows (the equations stand in packages/ops/src/rms-norm.ts).
 *
 *   FourfoldRmsNorm(x [N, D], w [D]) -> y [N, D], r [N]           reads x, writes y
 *   FourfoldRmsNormGrad(dy, x, w, r) -> dx [N, D], dw [D]         reads dy and x, writes dx
 *   FourfoldRmsNormGrad(dy, x, w, r, onto [N, D])                 the same with `onto` added to dx
 *
 * dw is a sum over rows. Each block of rows has its own partial sum and the blocks are added in order, and where blocks
 * begin depends on N alone: so the bits don't depend on the number of threads.
 */
#pragma once
#include "kernel.h"

namespace fourfold {

class RmsNorm : public OpKernel {
  public:
    explicit RmsNorm(OpKernelConstruction* c) : OpKernel(c) { OP_REQUIRES_OK(c, c->GetAttr("epsilon", &epsilon_)); }

    void Compute(OpKernelContext* ctx) override {
        OP_REQUIRES(ctx, ctx->input(0).dims() == 2 && IsAlong(ctx, 1, 1), WrongShapes(ctx, "x [N, D] and w [D]"));
        const int64_t N = ctx->input(0).dim_size(0), D = ctx->input(0).dim_size(1);
        const float *x = In(ctx, 0), *w = In(ctx, 1);
        float* y = OutLike(ctx, 0, 0);
        Tensor* r_tensor = nullptr;
        OP_REQUIRES_OK(ctx, ctx->allocate_output(1, TensorShape({N}), &r_tensor));
        float* r = r_tensor->flat<float>().data();
        if (!ctx->status().ok()) return;
        ForRows(ctx, N, D, [=](int64_t first, int64_t last) {
            for (int64_t n = first; n < last; n++) {
                const float* row = x + n * D;
                float squares = 0;
#pragma omp simd reduction(+ : squares)
                for (int64_t d = 0; d < D; d++) squares += row[d] * row[d];
                r[n] = 1 / std::sqrt(squares / D + epsilon_);
#pragma omp simd
                for (int64_t d = 0; d < D; d++) y[n * D + d] = row[d] * r[n] * w[d];
            }
        });
    }

  private:
    float epsilon_;
};

class RmsNormGrad : public OpKernel {
  public:
    using OpKernel::OpKernel;

    void Compute(OpKernelContext* ctx) override {
        OP_REQUIRES(ctx, Fits(ctx), WrongShapes(ctx, "dy and x [N, D], w [D], r [N], and at most one onto [N, D]"));
        const int64_t N = ctx->input(0).dim_size(0), D = ctx->input(0).dim_size(1);
        const float *dy = In(ctx, 0), *x = In(ctx, 1), *w = In(ctx, 2), *r = In(ctx, 3);
        const float* onto = ctx->num_inputs() > 4 ? In(ctx, 4) : nullptr;
        float *dx = OutLike(ctx, 0, 0), *dw = OutLike(ctx, 1, 2);
        if (!ctx->status().ok()) return;
        const int64_t blocks = (N + kBlock - 1) / kBlock;
        std::vector<float> partial(blocks * D, 0.0f);
        ForRows(ctx, blocks, 4 * kBlock * D, [&, dy, x, w, r, onto, dx, N, D](int64_t first, int64_t last) {
            for (int64_t b = first; b < last; b++)
                for (int64_t n = b * kBlock; n < std::min(N, (b + 1) * kBlock); n++) {
                    Row(dy + n * D, x + n * D, w, r[n], D, dx + n * D, partial.data() + b * D);
                    if (onto != nullptr) Add(onto + n * D, D, dx + n * D);
                }
        });
        std::fill_n(dw, D, 0.0f);
        for (int64_t b = 0; b < blocks; b++)
            for (int64_t d = 0; d < D; d++) dw[d] += partial[b * D + d];
    }

  private:
    static constexpr int64_t kBlock = 64;  // rows

    static bool Fits(OpKernelContext* ctx) {
        if (ctx->num_inputs() > 5 || (ctx->num_inputs() == 5 && !SameShape(ctx, 0, 4))) return false;
        return ctx->input(0).dims() == 2 && SameShape(ctx, 0, 1) && IsAlong(ctx, 2, 1) && IsAlong(ctx, 3, 0);
    }

    static void Add(const float* x, int64_t D, float* sum) {
#pragma omp simd
        for (int64_t d = 0; d < D; d++) sum[d] += x[d];
    }

    static void Row(const float* dy, const float* x, const float* w, float r, int64_t D, float* dx, float* dw) {
        float along = 0;  // Σ g · x̂, with g = dy · w
#pragma omp simd reduction(+ : along)
        for (int64_t d = 0; d < D; d++) along += dy[d] * w[d] * x[d] * r;
        along /= D;
#pragma omp simd
        for (int64_t d = 0; d < D; d++) {
            const float x_hat = x[d] * r;
            dw[d] += dy[d] * x_hat;
            dx[d] = r * (dy[d] * w[d] - x_hat * along);
        }
    }
};

REGISTER_OP("FourfoldRmsNorm")
    .Input("x: T").Input("w: T").Output("y: T").Output("r: float")
    .Attr("T: {float, bfloat16}").Attr("epsilon: float")
    .SetShapeFn([](InferenceContext* c) {
        ShapeHandle x;
        TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &x));
        c->set_output(0, x);
        c->set_output(1, c->Vector(c->Dim(x, 0)));
        return absl::OkStatus();
    });
REGISTER_OP("FourfoldRmsNormGrad")
    .Input("dy: T").Input("x: T").Input("w: T").Input("r: float").Input("onto: M * T")
    .Output("dx: T").Output("dw: float")
    .Attr("T: {float, bfloat16}").Attr("M: int >= 0")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->input(0));
        c->set_output(1, c->input(2));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("FourfoldRmsNorm").Device(DEVICE_CPU).TypeConstraint<float>("T"), RmsNorm);
REGISTER_KERNEL_BUILDER(Name("FourfoldRmsNormGrad").Device(DEVICE_CPU).TypeConstraint<float>("T"), RmsNormGrad);

}  // namespace fourfold
