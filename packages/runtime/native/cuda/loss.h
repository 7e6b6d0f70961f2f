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

/** Rows of a table that has those of ids `first` and on, of `words` in all; 0 for the others (ops/embedding.h). */
class Embedding : public GpuOp {
  public:
    explicit Embedding(OpKernelConstruction* c)
        : GpuOp(c), first_(Attribute<int64_t>(c, "first")), words_(Attribute<int64_t>(c, "words")) {}

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &table = ctx->input(0), &ids = ctx->input(1);
        Require(ctx, table.dims() == 2 && ids.dims() == 1, "table [V, D] and ids [N]");
        const int N = ids.dim_size(0), V = table.dim_size(0), D = table.dim_size(1);
        const auto id = ids.flat<int32_t>();
        for (int n = 0; n < N; n++)
            if (id(n) < 0 || id(n) >= words_)
                throw Error("there is no word " + std::to_string(id(n)) + " among " + std::to_string(words_));
        const Tensor x = Output(ctx, 0, TensorShape({N, D})), numbers = Uploaded(ctx, ids);
        const Columns columns(table.dtype(), D);
        const Given given = columns.With({Type("T", table.dtype()), Type("G", DT_FLOAT), Constant("D", D)});
        Launch(ctx, Find("embedding.cu", "embedding", given), {N}, columns.threads, Data(table), Data(numbers),
               int(first_), V, Data(x));
    }

  private:
    const int64_t first_, words_;
};

/** Rows of logits [C, V], a block of threads for each, and the kernels of cross-entropy.cu for them. */
struct LogitRows {
    const int64_t C, V;
    const Columns columns;
    const Given given;

    explicit LogitRows(const Tensor& logits)
        : C(logits.dim_size(0)), V(logits.dim_size(1)), columns(logits.dtype(), V, 1024),
          given(columns.With({Type("T", logits.dtype()), Constant("V", V)})) {}

    template <class... Arguments>
    void Launch(OpKernelContext* ctx, const char* kernel, Arguments... arguments) const {
        cuda::Launch(ctx, Find("cross-entropy.cu", kernel, given), {C}, columns.threads, arguments...);
    }
};

/** What the ops have in common that compute losses. */
class LogitOp : public GpuOp {
  public:
    using GpuOp::GpuOp;

  protected:
    static bool Fits(OpKernelContext* ctx) {
        const Tensor& logits = ctx->input(0);
        return logits.dims() == 2 && ctx->input(1).shape() == TensorShape({logits.dim_size(0)});
    }

    /** Output 0, [C]; and output 1, which is the logits' memory or, without gradients, empty. */
    static Tensor Losses(OpKernelContext* ctx, bool gradients) {
        if (gradients) ctx->set_output(1, ctx->input(0));
        else Output(ctx, 1, TensorShape({0}));
        return Output(ctx, 0, TensorShape({ctx->input(0).dim_size(0)}));
    }
};

/** logits [C, V] become their own gradient: output 1 is input 0's memory. */
class CrossEntropy : public LogitOp {
  public:
    explicit CrossEntropy(OpKernelConstruction* c)
        : LogitOp(c), gradients_(Attribute<bool>(c, "gradients")), weight_(Attribute<float>(c, "weight")) {}

  protected:
    void Run(OpKernelContext* ctx) override {
        Require(ctx, Fits(ctx), "logits [C, V] and targets [C]");
        const Tensor losses = Losses(ctx, gradients_), targets = Uploaded(ctx, ctx->input(1));
        LogitRows(ctx->input(0)).Launch(ctx, "cross_entropy", Data(ctx->input(0)), Data(targets), weight_,
                                        int(gradients_), Data(losses));
    }

  private:
    const bool gradients_;
    const float weight_;
};

/** Of the logits of words `first` and on: stats [C, 3] (ops/split-softmax.h). */
class LogitStatistics : public LogitOp {
  public:
    explicit LogitStatistics(OpKernelConstruction* c) : LogitOp(c), first_(Attribute<int64_t>(c, "first")) {}

  protected:
    void Run(OpKernelContext* ctx) override {
        Require(ctx, Fits(ctx), "logits [C, V] and targets [C]");
        const LogitRows rows(ctx->input(0));
        const Tensor stats = Output(ctx, 0, TensorShape({rows.C, 3})), targets = Uploaded(ctx, ctx->input(1));
        rows.Launch(ctx, "logit_statistics", Data(ctx->input(0)), Data(targets), int(first_), Data(stats));
    }

  private:
    const int64_t first_;
};

/** The loss and, over the logits, their gradient, from the stats of all ranks, [n · C, 3]. */
class LogitGradient : public LogitOp {
  public:
    explicit LogitGradient(OpKernelConstruction* c)
        : LogitOp(c), first_(Attribute<int64_t>(c, "first")), gradients_(Attribute<bool>(c, "gradients")),
          weight_(Attribute<float>(c, "weight")) {}

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &logits = ctx->input(0), &stats = ctx->input(2);
        const bool fits = Fits(ctx) && logits.dim_size(0) > 0 && stats.dims() == 2 && stats.dim_size(1) == 3 &&
                          stats.dim_size(0) > 0 && stats.dim_size(0) % logits.dim_size(0) == 0;
        Require(ctx, fits, "logits [C, V], targets [C] and stats [n · C, 3], C and n above 0");
        const LogitRows rows(logits);
        const Tensor losses = Losses(ctx, gradients_), targets = Uploaded(ctx, ctx->input(1));
        rows.Launch(ctx, "logit_gradient", Data(logits), Data(targets), Data(stats),
                    int(stats.dim_size(0) / rows.C), int(first_), weight_, int(gradients_), Data(losses));
    }

  private:
    const int64_t first_;
    const bool gradients_;
    const float weight_;
};

/** Tokens 0 to N - 1 in the order of their ids, those of one id in a row; without ids outside the V from `first` on. */
struct Sorted {
    std::vector<int> order, starts;  // starts: of each id's tokens, and the end of the last one's

    Sorted(const int32_t* ids, int N, int first, int V) {
        std::vector<int> next(V + 1, 0);  // how many tokens have id v - 1; then where the next of id v belongs
        const auto known = [=](int n) { return ids[n] >= first && ids[n] - first < V; };
        for (int n = 0; n < N; n++)
            if (known(n)) next[ids[n] - first + 1]++;
        for (int v = 0; v < V; v++) {
            if (next[v + 1] > 0) starts.push_back(next[v]);
            next[v + 1] += next[v];
        }
        starts.push_back(next[V]);
        order.resize(next[V]);
        for (int n = 0; n < N; n++)
            if (known(n)) order[next[ids[n] - first]++] = n;
    }
};

/** Adds to grad [V, D] in place: the output is input 2's memory. */
class EmbeddingGrad : public GpuOp {
  public:
    explicit EmbeddingGrad(OpKernelConstruction* c) : GpuOp(c), first_(Attribute<int64_t>(c, "first")) {}

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor &dx = ctx->input(0), &ids = ctx->input(1), &grad = ctx->input(2);
        const bool fits = dx.dims() == 2 && grad.dims() == 2 && dx.dim_size(1) == grad.dim_size(1) &&
                          ids.shape() == TensorShape({dx.dim_size(0)});
        Require(ctx, fits, "dx [N, D], ids [N] and grad [V, D]");
        const int N = dx.dim_size(0), D = dx.dim_size(1), V = grad.dim_size(0);
        ctx->set_output(0, grad);
        const Sorted sorted(ids.flat<int32_t>().data(), N, first_, V);
        const int64_t groups = sorted.starts.size() - 1;
        const Tensor numbers = Uploaded(ctx, ids);
        const Tensor order = Uploaded(ctx, sorted.order.data(), sorted.order.size());
        const Tensor starts = Uploaded(ctx, sorted.starts.data(), sorted.starts.size());
        const Columns columns(dx.dtype(), D);
        const Given given = columns.With({Type("T", dx.dtype()), Type("G", grad.dtype()), Constant("D", D)});
        Launch(ctx, Find("embedding.cu", "embedding_grad", given), {groups}, columns.threads, Data(dx), Data(numbers),
               Data(order), Data(starts), int(first_), Data(grad));
    }

  private:
    const int64_t first_;
};

REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldEmbedding").HostMemory("ids"), Embedding);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldEmbeddingGrad").HostMemory("ids"), EmbeddingGrad);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldCrossEntropy").HostMemory("targets"), CrossEntropy);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldLogitStatistics").HostMemory("targets"), LogitStatistics);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldLogitGradient").HostMemory("targets"), LogitGradient);

}  // namespace fourfold::cuda
