/** Launches the kernels of flash-attention.cu and flash-attention-grad.cu. */
#include "flash.h"

namespace fourfold::cuda {

/** A block has so many rows of its own, and PARTS threads for each. */
constexpr int64_t kOwn = 64;  // queries, or keys, of a block: QUERIES and OWN in the .cu files

/** PARTS is 4, or 2 where K has no 4 equal parts. */
static int Threads(int64_t K) { return kOwn * (K % 4 == 0 ? 4 : 2); }

/** What the files are compiled for. Two tiles of 32 rows of K floats must fit into 48 KiB. */
static Given GivenFor(const Attended& a) {
    const int64_t K = a.q.K;
    if (K % 2 != 0 || K > 192) throw Error("heads must have an even number of dimensions, at most 192");
    return {Type("T", a.type), Constant("K", K), Constant("H", a.q.count), Constant("G", a.k.count),
            Constant("Q_ROW", a.q.row), Constant("KV_ROW", a.k.row), Constant("CAUSAL", a.causal)};
}

/** A block for each 64 queries of each head. */
void Flash(OpKernelContext* ctx, const Attended& a, const Tensor& o, const Tensor& lse) {
    const CUfunction kernel = Find("flash-attention.cu", "flash_attention", GivenFor(a));
    Launch(ctx, kernel, {Blocks(a.q.tokens, kOwn), a.q.count, a.q.B}, Threads(a.q.K), a.q.at, a.k.at, a.v.at, a.scale,
           a.q.tokens, a.k.tokens, Data(o), Data(lse));
}

/** D of each query first; then the two kernels, over queries and over keys. */
void FlashGrad(OpKernelContext* ctx, const Attended& a, const AttendedOutput& out, const AttendedGradients& grads) {
    const int64_t B = a.q.B, T = a.q.tokens, H = a.q.count, S = a.k.tokens, G = a.k.count, queries = B * T * H;
    const Given given = GivenFor(a);
    const auto find = [&](const char* kernel) { return Find("flash-attention-grad.cu", kernel, given); };
    const int threads = Threads(a.q.K);
    Tensor D;
    const absl::Status status = ctx->allocate_temp(DT_FLOAT, TensorShape({queries}), &D);
    if (!status.ok()) throw Error(std::string(status.message()));
    Launch(ctx, find("row_sums"), {Blocks(queries, 256)}, 256, Data(out.dO), Data(out.o), T, queries, Data(D));
    Launch(ctx, find("grad_of_queries"), {Blocks(T, kOwn), H, B}, threads, Data(out.dO), a.q.at, a.k.at, a.v.at,
           Data(out.lse), Data(D), a.scale, T, S, grads.dq.at);
    Launch(ctx, find("grad_of_keys"), {Blocks(S, kOwn), G, B}, threads, Data(out.dO), a.q.at, a.k.at, a.v.at,
           Data(out.lse), Data(D), a.scale, T, S, grads.dk.at, grads.dv.at);
}

}  // namespace fourfold::cuda
