/**
 * Attention over a block of keys, backward in one op: P is computed again, tile by tile as in attention.h, and what
 * follows from it while the tile is in the cache (the equations stand in packages/ops/src/attention-block.ts).
 *
 *   FourfoldAttentionGrad(q, k, v, do, lse, D; causal) -> dq [B, H, T, K], dk and dv [B, G, S, K]
 *
 * lse and D are those of the whole attention, of which k and v may be one block.
 *
 * One query head is one piece of work. It has its own dq, and its own part of its group's dk and dv, since two threads
 * can't add to the same numbers; the R parts are added up at the end.
 */
#pragma once
#include "attention.h"

namespace fourfold {

class AttentionGrad : public AttentionKernel {
  public:
    using AttentionKernel::AttentionKernel;

    void Compute(OpKernelContext* ctx) override {
        const char* needed = "q and do [B, H, T, K], k and v [B, G, S, K], lse and D [B, H, T, 1], G dividing H, "
                             "S above 0, and T = S if causal";
        const bool fits = Fits(ctx) && SameShape(ctx, 0, 3) && IsPerQuery(ctx, 4) && IsPerQuery(ctx, 5);
        OP_REQUIRES(ctx, fits, WrongShapes(ctx, needed));
        const AttentionShape shape = ShapeOf(ctx);
        const int64_t numbers = shape.B * shape.H * shape.S * shape.K;
        float *dq = OutLike(ctx, 0, 0), *dk = OutLike(ctx, 1, 1), *dv = OutLike(ctx, 2, 1);
        Tensor parts;
        const bool shared = shape.R() > 1;
        OP_REQUIRES_OK(ctx, ctx->allocate_temp(tensorflow::DT_FLOAT, TensorShape({2, shared ? numbers : 0}), &parts));
        if (!ctx->status().ok()) return;
        float *dk_parts = shared ? parts.flat<float>().data() : dk, *dv_parts = shared ? dk_parts + numbers : dv;
        const Head all{In(ctx, 0), In(ctx, 1), In(ctx, 2), In(ctx, 3), In(ctx, 4), In(ctx, 5), dq, dk_parts, dv_parts};
        EachHead(ctx, shape, all);
        if (!shared) return;
        SumGroups(ctx, shape, dk_parts, dk);
        SumGroups(ctx, shape, dv_parts, dv);
    }

  private:
    /** One query head's part of each tensor; or, the first head's, all of it. */
    struct Head {
        const float *q, *k, *v, *dO, *lse, *D;
        float *dq, *dk, *dv;
    };

    static bool IsPerQuery(OpKernelContext* ctx, int i) {
        TensorShape shape = ctx->input(0).shape();
        shape.set_dim(3, 1);
        return ctx->input(i).shape() == shape;
    }

    static void EachHead(OpKernelContext* ctx, const AttentionShape& shape, const Head& all) {
        const int64_t T = shape.T, S = shape.S, K = shape.K;
        ForRows(ctx, shape.B * shape.H, T * S * K / 2, [=](int64_t first, int64_t last) {
            std::vector<float> scratch(2 * (K + kKeys) * kQueries);
            for (int64_t h = first; h < last; h++) {
                const int64_t q = h * T * K, k = h / shape.R() * S * K, part = h * S * K;
                const Head head{all.q + q, all.k + k, all.v + k, all.dO + q, all.lse + h * T, all.D + h * T,
                                all.dq + q, all.dk + part, all.dv + part};
                std::fill_n(head.dq, T * K, 0.0f);
                std::fill_n(head.dk, S * K, 0.0f);
                std::fill_n(head.dv, S * K, 0.0f);
                for (int64_t i = 0; i < T; i += kQueries) AddGradients(shape, head, Tile(shape, i), scratch.data());
            }
        });
    }

    static void AddGradients(const AttentionShape& shape, const Head& head, const Tile& tile, float* scratch) {
        const int64_t K = shape.K, seen = tile.Seen(shape.S), at = tile.start * K;
        float *q_turned = scratch, *dO_turned = q_turned + K * kQueries;
        float *p = dO_turned + K * kQueries, *dS = p + kKeys * kQueries;
        float lse[kQueries] = {}, D[kQueries] = {};
        std::copy_n(head.lse + tile.start, tile.queries, lse);
        std::copy_n(head.D + tile.start, tile.queries, D);
        Turn(head.q + at, tile, K, q_turned);
        Turn(head.dO + at, tile, K, dO_turned);
        for (int64_t j = 0; j < seen; j += kKeys) {
            const int64_t keys = std::min(kKeys, seen - j), from = j * K;
            Multiply(head.k + from, q_turned, tile, keys, K, p);
            Multiply(head.v + from, dO_turned, tile, keys, K, dS);
            for (int64_t n = 0; n < keys; n++)
                ScoreGradient(p + n * kQueries, dS + n * kQueries, lse, D, tile.columns, tile.Hidden(j + n));
            AddProduct({p, kQueries, 1}, {head.dO + at, K}, {head.dv + from, K}, keys, tile.queries, K);
            AddProduct({dS, kQueries, 1}, {head.q + at, K}, {head.dk + from, K}, keys, tile.queries, K);
            AddProduct({dS, 1, kQueries}, {head.k + from, K}, {head.dq + at, K}, tile.queries, keys, K);
        }
    }

    /** One key's row of S and of dP become P and dS; the first `hidden` queries don't see it. */
    static void ScoreGradient(float* p, float* dS, const float* lse, const float* D, int64_t columns, int64_t hidden) {
#pragma omp simd
        for (int64_t i = 0; i < columns; i++) {
            p[i] = Exp(p[i] - lse[i]);
            dS[i] = p[i] * (dS[i] - D[i]);
        }
        std::fill_n(p, hidden, 0.0f);
        std::fill_n(dS, hidden, 0.0f);
    }

    /** sums [B, G, S, K], each of the R heads of a group in parts [B, H, S, K]. */
    static void SumGroups(OpKernelContext* ctx, const AttentionShape& shape, const float* parts, float* sums) {
        const int64_t R = shape.R(), S = shape.S, K = shape.K;
        ForRows(ctx, shape.B * shape.G * S, R * K, [=](int64_t first, int64_t last) {
            for (int64_t n = first; n < last; n++) {
                const float* part = parts + (n / S * R * S + n % S) * K;
                std::copy_n(part, K, sums + n * K);
                for (int64_t r = 1; r < R; r++)
#pragma omp simd
                    for (int64_t d = 0; d < K; d++) sums[n * K + d] += part[r * S * K + d];
            }
        });
    }
};

REGISTER_OP("FourfoldAttentionGrad")
    .Input("q: float").Input("k: float").Input("v: float").Input("do: float").Input("lse: float").Input("d: float")
    .Output("dq: float").Output("dk: float").Output("dv: float")
    .Attr("causal: bool")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->input(0));
        c->set_output(1, c->input(1));
        c->set_output(2, c->input(1));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("FourfoldAttentionGrad").Device(DEVICE_CPU), AttentionGrad);

}  // namespace fourfold
