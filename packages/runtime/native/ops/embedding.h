/**
 * The embedding's gradient, added to where it lies.
 *
 *   FourfoldEmbeddingGrad(dx [N, D], ids [N], grad [V, D]) -> grad, in its own memory: grad[ids_n] += dx_n
 *
 * A batch touches N rows of V: with a new tensor for the sums the whole table would be written, and added, for them.
 * Threads take columns, a cache line wide, and each adds its part of the rows in the order of n: so no two write to one
 * place, and the bits don't depend on the number of threads. An id that is no row of the table is passed over.
 */
#pragma once
#include "kernel.h"

namespace fourfold {

class EmbeddingGrad : public OpKernel {
  public:
    using OpKernel::OpKernel;

    void Compute(OpKernelContext* ctx) override {
        const Tensor& grad = ctx->input(2);
        const bool fits = ctx->input(0).dims() == 2 && IsAlong(ctx, 1, 0) && grad.dims() == 2 &&
                          grad.dim_size(1) == ctx->input(0).dim_size(1);
        OP_REQUIRES(ctx, fits, WrongShapes(ctx, "dx [N, D], ids [N] and grad [V, D]"));
        const int64_t N = ctx->input(0).dim_size(0), D = grad.dim_size(1), V = grad.dim_size(0);
        const float* dx = In(ctx, 0);
        const int32_t* ids = ctx->input(1).flat<int32_t>().data();
        float* sums = const_cast<float*>(In(ctx, 2));
        ctx->set_output(0, grad);
        ForRows(ctx, (D + kLine - 1) / kLine, kLine * N, [=](int64_t first, int64_t last) {
            const int64_t from = first * kLine, to = std::min(D, last * kLine);
            for (int64_t n = 0; n < N; n++) {
                if (ids[n] < 0 || ids[n] >= V) continue;
                const float* row = dx + n * D;
                float* sum = sums + ids[n] * D;
#pragma omp simd
                for (int64_t d = from; d < to; d++) sum[d] += row[d];
            }
        });
    }

  private:
    static constexpr int64_t kLine = 16;  // floats: 64 bytes
};

REGISTER_OP("FourfoldEmbeddingGrad")
    .Input("dx: T").Input("ids: int32").Input("grad: float").Output("sums: float").Attr("T: {float, bfloat16}")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->input(2));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("FourfoldEmbeddingGrad").Device(DEVICE_CPU).TypeConstraint<float>("T"), EmbeddingGrad);

}  // namespace fourfold
