/**
 * What a sampler needs of a row of logits, without the row leaving memory.
 *
 *   FourfoldBestLogits(logits [N, V]; k) -> ids int32 [N, k], values [N, k], logSumExp [N]
 *
 * The k largest, largest first, of equal ones those with lower ids; and log Σ exp, of which a word's log-probability is
 * its logit's distance. A logit that is NaN counts as the least, and makes logSumExp NaN.
 */
#pragma once
#include <limits>

#include "team.h"
#include "tensorflow/core/framework/common_shape_fns.h"

namespace fourfold {

/** log Σ exp(x): sums of 256 in float32, those in float64, so that half a million words cost no digits. */
inline float LogSumExp(const float* x, int64_t V) {
    float most = std::numeric_limits<float>::lowest();
    for (int64_t v = 0; v < V; v++) most = x[v] > most ? x[v] : most;
    double sum = 0;
    for (int64_t start = 0; start < V; start += 256) {
        const int64_t count = std::min<int64_t>(256, V - start);
        float part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t v = 0; v < count; v++) part += Exp(x[start + v] - most);
        sum += part;
    }
    return most + static_cast<float>(std::log(sum));
}

/** The best k of x, in a heap whose top is the worst of them. */
inline void BestOf(const float* x, int64_t V, int64_t k, int32_t* ids, float* values) {
    const auto value = [x](int32_t id) { return x[id] == x[id] ? x[id] : std::numeric_limits<float>::lowest(); };
    const auto better = [value](int32_t a, int32_t b) {
        return value(a) > value(b) || (value(a) == value(b) && a < b);
    };
    std::vector<int32_t> heap;
    for (int32_t v = 0; v < V; v++) {
        if (static_cast<int64_t>(heap.size()) == k) {
            if (!better(v, heap.front())) continue;
            std::pop_heap(heap.begin(), heap.end(), better);
            heap.pop_back();
        }
        heap.push_back(v);
        std::push_heap(heap.begin(), heap.end(), better);
    }
    std::sort(heap.begin(), heap.end(), better);
    for (int64_t i = 0; i < k; i++) {
        ids[i] = heap[i];
        values[i] = x[heap[i]];
    }
}

class BestLogits : public OpKernel {
  public:
    explicit BestLogits(OpKernelConstruction* c) : OpKernel(c) { OP_REQUIRES_OK(c, c->GetAttr("k", &k_)); }

    void Compute(OpKernelContext* ctx) override {
        const Tensor& logits = ctx->input(0);
        const bool fits = logits.dims() == 2 && k_ >= 1 && k_ <= logits.dim_size(1);
        OP_REQUIRES(ctx, fits, WrongShapes(ctx, "logits [N, V] and k from 1 to V"));
        const int64_t N = logits.dim_size(0), V = logits.dim_size(1), k = k_;
        const float* x = In(ctx, 0);
        Tensor* ids_tensor = nullptr;
        OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({N, k}), &ids_tensor));
        int32_t* ids = ids_tensor->flat<int32_t>().data();
        float *values = Out(ctx, 1, TensorShape({N, k})), *sums = Out(ctx, 2, TensorShape({N}));
        if (!ctx->status().ok()) return;
        ForParts(ctx, N, 4 * V, [=](int64_t first, int64_t last) {
            for (int64_t n = first; n < last; n++) {
                BestOf(x + n * V, V, k, ids + n * k, values + n * k);
                sums[n] = LogSumExp(x + n * V, V);
            }
        });
    }

  private:
    int k_;
};

REGISTER_OP("FourfoldBestLogits")
    .Input("logits: float").Output("ids: int32").Output("values: float").Output("log_sum_exp: float").Attr("k: int")
    .SetShapeFn(tensorflow::shape_inference::UnknownShape);
REGISTER_KERNEL_BUILDER(Name("FourfoldBestLogits").Device(DEVICE_CPU), BestLogits);

}  // namespace fourfold
