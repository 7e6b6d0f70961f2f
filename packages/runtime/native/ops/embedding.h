/**
 * The embedding: row id_n of a table; and its gradient, added to where it lies.
 *
 *   FourfoldEmbedding(table [V, D], ids [N]; first, words) -> x [N, D]
 *   FourfoldEmbeddingGrad(dx [N, D], ids [N], grad [V, D]; first) -> grad, in its own memory: row id_n - first += dx_n
 *
 * The table has the rows of ids `first` to first + V - 1, out of `words`: a part of a vocabulary that ranks share out.
 * x is 0 for ids that others have the rows of, and so the sum over the ranks is each id's row. The gradient op passes
 * them over. A number that is no word's is an error.
 *
 * A batch touches N rows of V: with a new tensor for the sums the whole table would be written, and added, for them.
 * Threads take columns, a cache line wide, and each adds its part of the rows in the order of n: so no two write to one
 * place, and the bits don't depend on the number of threads.
 */
#pragma once
#include "kernel.h"

namespace fourfold {

class Embedding : public OpKernel {
  public:
    explicit Embedding(OpKernelConstruction* c) : OpKernel(c) {
        OP_REQUIRES_OK(c, c->GetAttr("first", &first_));
        OP_REQUIRES_OK(c, c->GetAttr("words", &words_));
    }

    void Compute(OpKernelContext* ctx) override {
        const Tensor& ids_tensor = ctx->input(1);
        const bool fits = ctx->input(0).dims() == 2 && ids_tensor.dims() == 1;
        OP_REQUIRES(ctx, fits, WrongShapes(ctx, "table [V, D] and ids [N]"));
        const int64_t V = ctx->input(0).dim_size(0), D = ctx->input(0).dim_size(1), N = ids_tensor.dim_size(0);
        const int32_t* ids = ids_tensor.flat<int32_t>().data();
        for (int64_t n = 0; n < N; n++) OP_REQUIRES(ctx, ids[n] >= 0 && ids[n] < words_, NoWord(ids[n], words_));
        const float* table = In(ctx, 0);
        Tensor* x_tensor = nullptr;
        OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({N, D}), &x_tensor));
        float* x = x_tensor->flat<float>().data();
        ForRows(ctx, N, D, [=, this](int64_t begin, int64_t end) {
            for (int64_t n = begin; n < end; n++) {
                const int64_t row = ids[n] - first_;
                if (row >= 0 && row < V) std::copy_n(table + row * D, D, x + n * D);
                else std::fill_n(x + n * D, D, 0.0f);
            }
        });
    }

  private:
    int64_t first_, words_;

    static absl::Status NoWord(int32_t id, int64_t words) {
        const std::string numbers = std::to_string(id) + " among " + std::to_string(words);
        return absl::InvalidArgumentError("FourfoldEmbedding: there is no word " + numbers);
    }
};

class EmbeddingGrad : public OpKernel {
  public:
    explicit EmbeddingGrad(OpKernelConstruction* c) : OpKernel(c) { OP_REQUIRES_OK(c, c->GetAttr("first", &first_)); }

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
        ForRows(ctx, (D + kLine - 1) / kLine, kLine * N, [=, this](int64_t begin, int64_t end) {
            const int64_t from = begin * kLine, to = std::min(D, end * kLine);
            for (int64_t n = 0; n < N; n++) {
                const int64_t id = ids[n] - first_;
                if (id < 0 || id >= V) continue;
                const float* row = dx + n * D;
                float* sum = sums + id * D;
#pragma omp simd
                for (int64_t d = from; d < to; d++) sum[d] += row[d];
            }
        });
    }

  private:
    static constexpr int64_t kLine = 16;  // floats: 64 bytes
    int64_t first_;
};

REGISTER_OP("FourfoldEmbedding")
    .Input("table: T").Input("ids: int32").Output("x: T")
    .Attr("T: {float, bfloat16}").Attr("first: int").Attr("words: int")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->Matrix(c->Dim(c->input(1), 0), c->Dim(c->input(0), 1)));
        return absl::OkStatus();
    });
REGISTER_OP("FourfoldEmbeddingGrad")
    .Input("dx: T").Input("ids: int32").Input("grad: G").Output("sums: G")
    .Attr("T: {float, bfloat16}").Attr("G: {float, bfloat16}").Attr("first: int")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->input(2));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("FourfoldEmbedding").Device(DEVICE_CPU).TypeConstraint<float>("T"), Embedding);
#define FOURFOLD_FLOATS(name) Name(name).Device(DEVICE_CPU).TypeConstraint<float>("T").TypeConstraint<float>("G")
REGISTER_KERNEL_BUILDER(FOURFOLD_FLOATS("FourfoldEmbeddingGrad"), EmbeddingGrad);
#undef FOURFOLD_FLOATS

}  // namespace fourfold
