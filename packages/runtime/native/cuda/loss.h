/**
 * The first layer and the last on the GPU (embedding.cu, cross-entropy.cu).
 *
 * Token numbers come from the host, where TensorFlow keeps int32: they travel to the GPU here, with nobody waiting.
 */
#pragma once
#include "op.h"
#include "transfer.h"

namespace fourfold::cuda {

/** Token numbers on the GPU, for the time of the op. */
inline Tensor Uploaded(OpKernelContext* ctx, const Tensor& ids) {
    return Uploaded(ctx, ids.flat<int32_t>().data(), ids.NumElements());
}

/** FourfoldEmbedding(table: T [V, D], ids: int32 [N]) -> x: T [N, D] */
class Embedding : public GpuOp {
  public:
    using GpuOp::GpuOp;

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &table = ctx->input(0), &ids = ctx->input(1);
        Require(ctx, table.dims() == 2 && ids.dims() == 1, "table [V, D] and ids [N]");
        const int N = ids.dim_size(0), V = table.dim_size(0), D = table.dim_size(1);
        const Tensor x = Output(ctx, 0, TensorShape({N, D})), numbers = Uploaded(ctx, ids);
        const Columns columns(table.dtype(), D);
        const Given given = columns.With({Type("T", table.dtype()), Constant("D", D)});
        Launch(ctx, Find("embedding.cu", "embedding", given), {N}, columns.threads, Data(table), Data(numbers), V,
               Data(x));
    }
};

/** logits [C, V] become their own gradient: output 1 is input 0's memory. */
class CrossEntropy : public GpuOp {
  public:
    explicit CrossEntropy(OpKernelConstruction* c)
        : GpuOp(c), gradients_(Attribute<bool>(c, "gradients")), weight_(Attribute<float>(c, "weight")) {}

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &logits = ctx->input(0), &targets = ctx->input(1);
        const bool fits = logits.dims() == 2 && targets.shape() == TensorShape({logits.dim_size(0)});
        Require(ctx, fits, "logits [C, V] and targets [C]");
        const int64_t C = logits.dim_size(0), V = logits.dim_size(1);
        const Tensor losses = Output(ctx, 0, TensorShape({C})), numbers = Uploaded(ctx, targets);
        if (gradients_) ctx->set_output(1, logits);
        else Output(ctx, 1, TensorShape({0}));
        const Columns columns(logits.dtype(), V, 1024);
        const Given given = columns.With({Type("T", logits.dtype()), Constant("V", V)});
        Launch(ctx, Find("cross-entropy.cu", "cross_entropy", given), {C}, columns.threads, Data(logits),
               Data(numbers), weight_, int(gradients_), Data(losses));
    }

  private:
    const bool gradients_;
    const float weight_;
};

/** Tokens 0 to N - 1 in the order of their ids, those of one id in a row; ids outside 0 to V - 1 are left out. */
struct Sorted {
    std::vector<int> order, starts;  // starts: of each id's tokens, and the end of the last one's

    Sorted(const int32_t* ids, int N, int V) {
        std::vector<int> next(V + 1, 0);  // how many tokens have id v - 1; then where the next of id v belongs
        for (int n = 0; n < N; n++)
            if (ids[n] >= 0 && ids[n] < V) next[ids[n] + 1]++;
        for (int v = 0; v < V; v++) {
            if (next[v + 1] > 0) starts.push_back(next[v]);
            next[v + 1] += next[v];
        }
        starts.push_back(next[V]);
        order.resize(next[V]);
        for (int n = 0; n < N; n++)
            if (ids[n] >= 0 && ids[n] < V) order[next[ids[n]]++] = n;
    }
};

/** Adds to grad [V, D] in place: the output is input 2's memory. */
class EmbeddingGrad : public GpuOp {
  public:
    using GpuOp::GpuOp;

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &dx = ctx->input(0), &ids = ctx->input(1), &grad = ctx->input(2);
        const bool fits = dx.dims() == 2 && grad.dims() == 2 && dx.dim_size(1) == grad.dim_size(1) &&
                          ids.shape() == TensorShape({dx.dim_size(0)});
        Require(ctx, fits, "dx [N, D], ids [N] and grad [V, D]");
        const int N = dx.dim_size(0), D = dx.dim_size(1), V = grad.dim_size(0);
        ctx->set_output(0, grad);
        const Sorted sorted(ids.flat<int32_t>().data(), N, V);
        const int64_t groups = sorted.starts.size() - 1;
        const Tensor numbers = Uploaded(ctx, ids);
        const Tensor order = Uploaded(ctx, sorted.order.data(), sorted.order.size());
        const Tensor starts = Uploaded(ctx, sorted.starts.data(), sorted.starts.size());
        const Columns columns(dx.dtype(), D);
        const Given given = columns.With({Type("T", dx.dtype()), Constant("D", D)});
        Launch(ctx, Find("embedding.cu", "embedding_grad", given), {groups}, columns.threads, Data(dx), Data(numbers),
               Data(order), Data(starts), Data(grad));
    }
};

REGISTER_OP("FourfoldEmbedding")
    .Input("table: T").Input("ids: int32").Output("x: T").Attr("T: {float, bfloat16}")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
        c->set_output(0, c->Matrix(c->Dim(c->input(1), 0), c->Dim(c->input(0), 1)));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldEmbedding").HostMemory("ids"), Embedding);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldEmbeddingGrad").HostMemory("ids"), EmbeddingGrad);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldCrossEntropy").HostMemory("targets"), CrossEntropy);

}  // namespace fourfold::cuda
