/** Launches the kernels of flash-attention.cu and flash-attention-grad.cu. */
#include "flash.h"

namespace fourfold::cuda {

constexpr int64_t kOwn = 64;  // queries, or keys, of a block: QUERIES and OWN in the .cu files

static int Threads(int64_t K) { return kOwn * (K % 4 == 0 ? 4 : 2); }

/** What the files are compiled for. Two tiles of 32 rows of K floats must fit into 48 KiB. */
static Given GivenFor(const Attended& a) {
    const int64_t K = a.q.dim_size(3);
    if (K % 2 != 0 || K > 192) throw Error("heads must have an even number of dimensions, at most 192");
    return {Type("T", a.q.dtype()), Constant("K", K), Constant("H", a.q.dim_size(2)), Constant("G", a.k.dim_size(2)),
            Constant("CAUSAL", a.causal)};
}

void Flash(OpKernelContext* ctx, const Attended& a, const Tensor& o, const Tensor& lse) {
    const int64_t B = a.q.dim_size(0), T = a.q.dim_size(1), H = a.q.dim_size(2), S = a.k.dim_size(1);
    const CUfunction kernel = Find("flash-attention.cu", "flash_attention", GivenFor(a));
    Launch(ctx, kernel, {Blocks(T, kOwn), H, B}, Threads(a.q.dim_size(3)), Data(a.q), Data(a.k), Data(a.v), a.scale, T,
           S, Data(o), Data(lse));
}

void FlashGrad(OpKernelContext* ctx, const Attended& a, const AttendedOutput& out, const AttendedGradients& grads) {
    const int64_t B = a.q.dim_size(0), T = a.q.dim_size(1), H = a.q.dim_size(2), S = a.k.dim_size(1);
    const int64_t G = a.k.dim_size(2), queries = B * T * H;
    const Given given = GivenFor(a);
    const auto find = [&](const char* kernel) { return Find("flash-attention-grad.cu", kernel, given); };
    const int threads = Threads(a.q.dim_size(3));
    Tensor D;
    const absl::Status status = ctx->allocate_temp(DT_FLOAT, TensorShape({queries}), &D);
    if (!status.ok()) throw Error(std::string(status.message()));
    Launch(ctx, find("row_sums"), {Blocks(queries, 256)}, 256, Data(out.dO), Data(out.o), T, queries, Data(D));
    Launch(ctx, find("grad_of_queries"), {Blocks(T, kOwn), H, B}, threads, Data(out.dO), Data(a.q), Data(a.k),
           Data(a.v), Data(out.lse), Data(D), a.scale, T, S, Data(grads.dq));
    Launch(ctx, find("grad_of_keys"), {Blocks(S, kOwn), G, B}, threads, Data(out.dO), Data(a.q), Data(a.k), Data(a.v),
           Data(out.lse), Data(D), a.scale, T, S, Data(grads.dk), Data(grads.dv));
}

}  // namespace fourfold::cuda
