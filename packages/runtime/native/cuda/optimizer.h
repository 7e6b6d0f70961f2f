/** AdamW and the gradients' length on the GPU (native/ops/adamw.h says what the ops take). */
#pragma once
#include <cmath>
#include <cstring>
#include <vector>

#include "op.h"
#include "transfer.h"

namespace fourfold::cuda {

// These three are structures of adamw.cu and squared-norm.cu too.

/** What is the same for all parameters. */
struct Rates {
    float rate, beta1, beta2, epsilon, root, limit;
    unsigned step;
};

/** One of the list: where its tensors are, and which blocks are its. */
struct Parameter {
    void *weights, *masters, *m, *v, *grad;
    int64_t count, first;
    float decay;
    unsigned key;
};

/** One of the list: its share is how much of it this rank counts. */
struct Gradient {
    void* g;
    int64_t count, first;
    float share;
};

/** Inputs `name`. */
inline OpInputList ListOf(OpKernelContext* ctx, const char* name) {
    OpInputList list;
    ctx->SetStatus(ctx->input_list(name, &list));
    return list;
}

/** Input `name`, which lies on the host. */
inline const int32_t* IntsOf(OpKernelContext* ctx, const char* name, int64_t count) {
    const Tensor* ints = nullptr;
    ctx->SetStatus(ctx->input(name, &ints));
    if (ints == nullptr || ints->NumElements() != count) throw Error(std::string(name) + " are of another number");
    return ints->flat<int32_t>().data();
}

/** The same for numbers that come as the bits of float32. */
inline std::vector<float> FloatsOf(OpKernelContext* ctx, const char* name, int64_t count) {
    std::vector<float> floats(count);
    std::memcpy(floats.data(), IntsOf(ctx, name, count), count * sizeof(float));
    return floats;
}

/** Puts the list together, one entry a parameter, and launches one kernel for all of them. */
class AdamW : public GpuOp {
  public:
    using GpuOp::GpuOp;

  protected:
    void Run(OpKernelContext* ctx) override {
        const OpInputList weights = ListOf(ctx, "weights"), masters = ListOf(ctx, "masters"), ms = ListOf(ctx, "m"),
                          vs = ListOf(ctx, "v"), grads = ListOf(ctx, "grads");
        const int N = weights.size();
        const std::vector<float> n = FloatsOf(ctx, "numbers", 9);
        const int32_t *decays = IntsOf(ctx, "decays", N), *keys = IntsOf(ctx, "keys", N);
        const Tensor* squares = nullptr;
        ctx->SetStatus(ctx->input("squares", &squares));
        const Rates rates{n[0] / n[4], n[1], n[2], n[3], 1 / std::sqrt(n[5]), n[7], static_cast<unsigned>(n[8])};
        std::vector<Parameter> all(N);
        int64_t blocks = 0, divisor = 16 / tensorflow::DataTypeSize(weights[0].dtype());
        for (int i = 0; i < N; i++) {
            for (const Tensor* one : {&ms[i], &vs[i], &grads[i]})
                if (one->shape() != weights[i].shape()) throw Error("moments and gradients must have weights' shapes");
            const int64_t count = weights[i].NumElements();
            void* const master = masters.size() > 0 ? Data(masters[i]) : nullptr;
            all[i] = {Data(weights[i]), master, Data(ms[i]), Data(vs[i]), Data(grads[i]), count, blocks,
                      decays[i] != 0 ? n[0] * n[6] : 0, static_cast<unsigned>(keys[i])};
            blocks += Blocks(count, 8192);
            divisor = std::gcd(divisor, count);
        }
        const Tensor table = Uploaded(ctx, all.data(), N);
        const Given given{Type("T", weights[0].dtype()), Type("M", ms[0].dtype()), Type("G", grads[0].dtype()),
                          Constant("MASTERS", masters.size() > 0), Constant("WIDTH", divisor)};
        Launch(ctx, Find("adamw.cu", "adamw", given), {blocks}, 256, rates, Data(table), N, Data(*squares));
    }
};

/** Σ share · g² over all gradients: one kernel, and a small one that adds up its blocks' sums. */
class SquaredNorm : public GpuOp {
  public:
    using GpuOp::GpuOp;

  protected:
    void Run(OpKernelContext* ctx) override {
        const OpInputList grads = ListOf(ctx, "grads");
        const std::vector<float> shares = FloatsOf(ctx, "shares", grads.size());
        const int N = grads.size();
        std::vector<Gradient> all(N);
        int64_t blocks = 0, divisor = 16 / tensorflow::DataTypeSize(grads[0].dtype());
        for (int i = 0; i < N; i++) {
            const int64_t count = grads[i].NumElements();
            all[i] = {Data(grads[i]), count, blocks, shares[i]};
            blocks += Blocks(count, 32768);
            divisor = std::gcd(divisor, count);
        }
        const Tensor table = Uploaded(ctx, all.data(), N), places = Scratch(ctx, DT_FLOAT, blocks);
        const Tensor total = Output(ctx, 0, TensorShape({}));
        const Given given{Type("G", grads[0].dtype()), Constant("WIDTH", divisor)};
        Launch(ctx, Find("squared-norm.cu", "squares", given), {blocks}, 256, Data(table), N, Data(places));
        Launch(ctx, Find("squared-norm.cu", "sum_places", given), {1}, 1024, Data(places), int(blocks), Data(total));
    }
};

REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldAdamW").HostMemory("numbers").HostMemory("decays").HostMemory("keys"),
                        AdamW);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldSquaredNorm").HostMemory("shares"), SquaredNorm);

}  // namespace fourfold::cuda
