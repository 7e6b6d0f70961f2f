/**
 * Attention over a block of keys, backward in one op: P is computed again, tile by tile as in attention.h, and what
 * follows from it while the tile is in the cache (the equations stand in packages/ops/src/attention-block.ts).
 *
 *   FourfoldAttentionGrad(do, q, k, v, o, lse; causal, scale) -> dq [B, T, H, K], dk and dv [B, S, G, K]
 *   FourfoldAttentionGrad(do, qkv, o, lse; causal, scale, kv_heads) -> dqkv [B, T, H+2G, K]
 *
 * o [B, T, H, K] and lse [B, H, T] are those of the whole attention, of which k and v may be one block.
 *
 * These sums have one order anyway: `deterministic` false, which lets a GPU add up as it comes, changes nothing here.
 *
 * One query head is one piece of work. It has its own dq, and its own part of its group's dk and dv, since two threads
 * can't add to the same numbers; the R parts are added up at the end.
 */
#pragma once
#include "attention.h"

namespace fourfold {

class AttentionGrad : public AttentionKernel {
  public:
    explicit AttentionGrad(OpKernelConstruction* c) : AttentionKernel(c, 1) {}

    void Compute(OpKernelContext* ctx) override {
        const bool fits = Fits(ctx) && OthersFit(ctx, ShapeOf(ctx));
        OP_REQUIRES(ctx, fits, WrongShapes(ctx, "do and o [B, T, H, K], lse [B, H, T], " + Needed()));
        const AttentionShape shape = ShapeOf(ctx);
        const int64_t T = shape.T, S = shape.S, K = shape.K, numbers = shape.B * shape.H * S * K;
        const float *dO = In(ctx, 0), *q = In(ctx, 1), *k = In(ctx, KeysInput()), *v = In(ctx, ValuesInput());
        const float *o = In(ctx, After(0)), *lse = In(ctx, After(1));
        float* dq = OutLike(ctx, 0, 1);
        float *dk = Stacked() ? dq : OutLike(ctx, 1, 2), *dv = Stacked() ? dq : OutLike(ctx, 2, 2);
        Tensor parts;
        OP_REQUIRES_OK(ctx, ctx->allocate_temp(tensorflow::DT_FLOAT, TensorShape({2, numbers}), &parts));
        if (!ctx->status().ok()) return;
        float *dk_parts = parts.flat<float>().data(), *dv_parts = dk_parts + numbers;
        ForRows(ctx, shape.B * shape.H, T * S * K / 2, [=](int64_t first, int64_t last) {
            std::vector<float> keys(2 * S * K), scratch((5 * K + 2 * kKeys) * kQueries);
            for (int64_t n = first; n < last; n++) {
                const int64_t b = n / shape.H, h = n % shape.H, g = h / shape.R();
                const Head head{shape.Outputs().Of(dO, b, h), shape.Queries().Of(q, b, h), shape.Outputs().Of(o, b, h),
                                lse + n * T,
                                Copy(shape.Keys().Of(k, b, g), S, K, keys.data()),
                                Copy(shape.Values().Of(v, b, g), S, K, keys.data() + S * K),
                                shape.Queries().Of(dq, b, h), {dk_parts + n * S * K, K}, {dv_parts + n * S * K, K}};
                std::fill_n(head.dk.at, S * K, 0.0f);
                std::fill_n(head.dv.at, S * K, 0.0f);
                for (int64_t i = 0; i < T; i += kQueries) AddGradients(shape, head, Tile(shape, i), scratch.data());
            }
        });
        SumGroups(ctx, shape, dk_parts, shape.Keys(), dk);
        SumGroups(ctx, shape, dv_parts, shape.Values(), dv);
    }

  private:
    /** One query head's part of each tensor; of k and v a copy. */
    struct Head {
        Rows<const float> dO, q, o;
        const float* lse;
        Rows<const float> k, v;
        Rows<float> dq, dk, dv;
    };

    bool OthersFit(OpKernelContext* ctx, const AttentionShape& shape) const {
        const bool outputs = ctx->input(0).shape() == PerOutput(shape) && SameShape(ctx, 0, After(0));
        return outputs && ctx->input(After(1)).shape() == PerQuery(shape);
    }

    static void AddGradients(const AttentionShape& shape, const Head& head, const Tile& tile, float* scratch) {
        const int64_t K = shape.K, seen = tile.Seen(shape.S), size = K * kQueries;
        float *q_turned = scratch, *dO_turned = q_turned + size, *dq = dO_turned + size;
        float *p = dq + size, *dS = p + kKeys * kQueries, *copies = dS + kKeys * kQueries;
        const Rows<const float> q = Copy(head.q.From(tile.start), tile.queries, K, copies);
        const Rows<const float> dO = Copy(head.dO.From(tile.start), tile.queries, K, copies + size);
        float lse[kQueries] = {}, D[kQueries] = {};
        std::copy_n(head.lse + tile.start, tile.queries, lse);
        for (int64_t i = 0; i < tile.queries; i++) D[i] = Dot(dO[i], head.o[tile.start + i], K);
        Turn(q, tile, K, shape.scale, q_turned);
        Turn(dO, tile, K, 1, dO_turned);
        std::fill_n(dq, tile.queries * K, 0.0f);
        for (int64_t j = 0; j < seen; j += kKeys) {
            const int64_t keys = std::min(kKeys, seen - j);
            Multiply(head.k.From(j), q_turned, tile, keys, K, p);
            Multiply(head.v.From(j), dO_turned, tile, keys, K, dS);
            for (int64_t n = 0; n < keys; n++) {
                const int64_t row = n * kQueries, hidden = tile.Hidden(j + n);
                ScoreGradient(p + row, dS + row, lse, D, shape.scale, tile.columns, hidden);
            }
            AddProduct({p, kQueries, 1}, dO, head.dv.From(j), keys, tile.queries, K);
            AddProduct({dS, kQueries, 1}, q, head.dk.From(j), keys, tile.queries, K);
            AddProduct({dS, 1, kQueries}, head.k.From(j), {dq, K}, tile.queries, keys, K);
        }
        for (int64_t i = 0; i < tile.queries; i++) std::copy_n(dq + i * K, K, head.dq[tile.start + i]);
    }

    static float Dot(const float* x, const float* y, int64_t K) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t d = 0; d < K; d++) sum += x[d] * y[d];
        return sum;
    }

    /** One key's row of S and of dP become P and scale · dS; the first `hidden` queries don't see it. */
    static void ScoreGradient(float* p, float* dS, const float* lse, const float* D, float scale, int64_t columns,
                              int64_t hidden) {
#pragma omp simd
        for (int64_t i = 0; i < columns; i++) {
            p[i] = Exp(p[i] - lse[i]);
            dS[i] = scale * p[i] * (dS[i] - D[i]);
        }
        std::fill_n(p, hidden, 0.0f);
        std::fill_n(dS, hidden, 0.0f);
    }

    /** The gradient of keys or values: of each the sum of the group's R heads in parts [B, H, S, K]. */
    static void SumGroups(OpKernelContext* ctx, const AttentionShape& shape, const float* parts, const Heads& heads,
                          float* sums) {
        const int64_t R = shape.R(), S = shape.S, G = shape.G, K = shape.K;
        ForRows(ctx, shape.B * S * G, R * K, [=](int64_t first, int64_t last) {
            for (int64_t n = first; n < last; n++) {
                const int64_t b = n / (S * G), s = n / G % S, g = n % G;
                const float* part = parts + ((b * G + g) * R * S + s) * K;
                float* sum = heads.Of(sums, b, g)[s];
                std::copy_n(part, K, sum);
                for (int64_t r = 1; r < R; r++)
#pragma omp simd
                    for (int64_t d = 0; d < K; d++) sum[d] += part[r * S * K + d];
            }
        });
    }
};

REGISTER_OP("FourfoldAttentionGrad")
    .Input("do: T").Input("qkv: N * T").Input("o: T").Input("lse: float")
    .Output("dqkv: N * T")
    .Attr("N: int >= 1").Attr("T: {float, bfloat16}").Attr("causal: bool").Attr("scale: float").Attr("kv_heads: int")
    .Attr("deterministic: bool")
    .SetShapeFn([](InferenceContext* c) {
        for (int i = 0; i < c->num_outputs(); i++) c->set_output(i, c->input(i + 1));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("FourfoldAttentionGrad").Device(DEVICE_CPU).TypeConstraint<float>("T"), AttentionGrad);

}  // namespace fourfold
