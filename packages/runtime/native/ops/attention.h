/**
 * Attention over a block of keys, forward in one op (the equations stand in packages/ops/src/attention-block.ts).
 *
 *   FourfoldAttention(q [B, H, T, K], k and v [B, G, S, K]; causal) -> o [B, H, T, K], lse [B, H, T, 1]
 *
 * Scores exist for 64 queries and 64 keys at a time, 16 KiB, and never leave the cache (FlashAttention-2's form, Dao
 * 2023). A tile of scores lies with its keys as rows and its queries as columns: so a softmax's maximum and sum, which
 * run over the keys, are taken for 8 queries at a time, and what each query has one of (maximum, sum, lse, D) is a row.
 *
 * causal: query i sees keys 0 to i. Tiles of which nothing is seen are left out, nearly half of all.
 *
 * Every sum is taken in an order that the shapes alone decide: the bits don't depend on the number of threads.
 */
#pragma once
#include <limits>

#include "kernel.h"
#include "product.h"

namespace fourfold {

constexpr int64_t kQueries = 64, kKeys = 64;  // of a tile; a product's depth is one of them, or K
static_assert(kQueries <= kMostDepth && kKeys <= kMostDepth && kQueries % kPanel == 0);

/** H query heads, in groups of R = H / G, each with one head of keys and values. */
struct AttentionShape {
    int64_t B, H, G, T, S, K;
    bool causal;
    int64_t R() const { return H / G; }
};

/** Some queries of one head: the first of them, how many, and that number rounded up to whole panels. */
struct Tile {
    int64_t start, queries, columns;
    bool causal;

    Tile(const AttentionShape& shape, int64_t first) : start(first), causal(shape.causal) {
        queries = std::min(kQueries, shape.T - start);
        columns = (queries + kPanel - 1) / kPanel * kPanel;
    }
    /** How many keys some query sees. */
    int64_t Seen(int64_t S) const { return causal ? std::min(S, start + queries) : S; }
    /** How many queries, the first ones, don't see this key. */
    int64_t Hidden(int64_t key) const { return causal ? std::clamp<int64_t>(key - start, 0, columns) : 0; }
};

/** x [queries, K] turned, [K, kQueries], with zeros for the columns after the last query. */
inline void Turn(const float* x, const Tile& tile, int64_t K, float* turned) {
    for (int64_t d = 0; d < K; d++) {
        float* row = turned + d * kQueries;
        for (int64_t i = 0; i < tile.queries; i++) row[i] = x[i * K + d];
        std::fill(row + tile.queries, row + tile.columns, 0.0f);
    }
}

/** y = x · turned: a tile of S from keys and queries, or of dP from values and do. */
inline void Multiply(const float* x, const float* turned, const Tile& tile, int64_t keys, int64_t K, float* y) {
    for (int64_t j = 0; j < keys; j++) std::fill_n(y + j * kQueries, tile.columns, 0.0f);
    AddProduct({x, K, 1}, {turned, kQueries}, {y, kQueries}, keys, K, tile.columns);
}

/** What the kernels share: the attribute, and the shapes of q, k and v. */
class AttentionKernel : public OpKernel {
  public:
    explicit AttentionKernel(OpKernelConstruction* c) : OpKernel(c) {
        OP_REQUIRES_OK(c, c->GetAttr("causal", &causal_));
    }

  protected:
    AttentionShape ShapeOf(OpKernelContext* ctx) const {
        const Tensor &q = ctx->input(0), &k = ctx->input(1);
        return {q.dim_size(0), q.dim_size(1), k.dim_size(1), q.dim_size(2), k.dim_size(2), q.dim_size(3), causal_};
    }

    bool Fits(OpKernelContext* ctx) const {
        const Tensor &q = ctx->input(0), &k = ctx->input(1);
        if (q.dims() != 4 || k.dims() != 4 || !SameShape(ctx, 1, 2)) return false;
        const AttentionShape s = ShapeOf(ctx);
        const bool grouped = s.G > 0 && s.H % s.G == 0, square = !causal_ || s.T == s.S;
        return k.dim_size(0) == s.B && k.dim_size(3) == s.K && s.S > 0 && grouped && square;
    }

  private:
    bool causal_;
};

// ## Forward

// A softmax whose scores come tile by tile. Each may raise the maximum; what was summed up with the one before, here
// and in o, is then brought down by `factor`.
struct RunningSoftmax {
    float most[kQueries], sum[kQueries] = {}, factor[kQueries];

    RunningSoftmax() { std::fill_n(most, kQueries, std::numeric_limits<float>::lowest()); }

    /** Turns the scores of keys `first` and on into exp(S - most), 0 where a query does not see a key. */
    void Take(float* scores, const Tile& tile, int64_t first, int64_t keys) {
        float before[kQueries], part[kQueries] = {};
        std::copy_n(most, tile.columns, before);
        for (int64_t j = 0; j < keys; j++) {
            float* s = scores + j * kQueries;
            std::fill_n(s, tile.Hidden(first + j), -std::numeric_limits<float>::infinity());
#pragma omp simd
            for (int64_t i = 0; i < tile.columns; i++) most[i] = s[i] > most[i] ? s[i] : most[i];
        }
        for (int64_t j = 0; j < keys; j++) {
            float* s = scores + j * kQueries;
#pragma omp simd
            for (int64_t i = 0; i < tile.columns; i++) s[i] = Exp(s[i] - most[i]);
            std::fill_n(s, tile.Hidden(first + j), 0.0f);
#pragma omp simd
            for (int64_t i = 0; i < tile.columns; i++) part[i] += s[i];
        }
#pragma omp simd
        for (int64_t i = 0; i < tile.columns; i++) {
            factor[i] = Exp(before[i] - most[i]);
            sum[i] = sum[i] * factor[i] + part[i];
        }
    }
};

class Attention : public AttentionKernel {
  public:
    using AttentionKernel::AttentionKernel;

    void Compute(OpKernelContext* ctx) override {
        const char* needed = "q [B, H, T, K], k and v [B, G, S, K], G dividing H, S above 0, and T = S if causal";
        OP_REQUIRES(ctx, Fits(ctx), WrongShapes(ctx, needed));
        const AttentionShape shape = ShapeOf(ctx);
        const float *q = In(ctx, 0), *k = In(ctx, 1), *v = In(ctx, 2);
        float* o = OutLike(ctx, 0, 0);
        Tensor* lse_tensor = nullptr;
        OP_REQUIRES_OK(ctx, ctx->allocate_output(1, TensorShape({shape.B, shape.H, shape.T, 1}), &lse_tensor));
        if (!ctx->status().ok()) return;
        float* lse = lse_tensor->flat<float>().data();
        const int64_t T = shape.T, S = shape.S, K = shape.K, tiles = (T + kQueries - 1) / kQueries;
        ForRows(ctx, shape.B * shape.H * tiles, kQueries * S * K / 4, [=](int64_t first, int64_t last) {
            std::vector<float> scratch((K + kKeys) * kQueries);
            for (int64_t n = first; n < last; n++) {
                const int64_t h = n / tiles, g = h / shape.R();
                const Head head{q + h * T * K, k + g * S * K, v + g * S * K, o + h * T * K, lse + h * T};
                Attend(shape, head, Tile(shape, n % tiles * kQueries), scratch.data());
            }
        });
    }

  private:
    /** One query head's part of each tensor. */
    struct Head {
        const float *q, *k, *v;
        float *o, *lse;
    };

    static void Attend(const AttentionShape& shape, const Head& head, const Tile& tile, float* scratch) {
        const int64_t K = shape.K, seen = tile.Seen(shape.S);
        float *q_turned = scratch, *p = scratch + K * kQueries;
        float *o = head.o + tile.start * K, *lse = head.lse + tile.start;
        RunningSoftmax softmax;
        Turn(head.q + tile.start * K, tile, K, q_turned);
        std::fill_n(o, tile.queries * K, 0.0f);
        for (int64_t j = 0; j < seen; j += kKeys) {
            const int64_t keys = std::min(kKeys, seen - j);
            Multiply(head.k + j * K, q_turned, tile, keys, K, p);
            softmax.Take(p, tile, j, keys);
            ScaleRows(o, softmax.factor, tile.queries, K);
            AddProduct({p, 1, kQueries}, {head.v + j * K, K}, {o, K}, tile.queries, keys, K);
        }
        for (int64_t i = 0; i < tile.queries; i++) {
            lse[i] = softmax.most[i] + std::log(softmax.sum[i]);
            softmax.factor[i] = 1 / softmax.sum[i];
        }
        ScaleRows(o, softmax.factor, tile.queries, K);
    }

    static void ScaleRows(float* x, const float* factors, int64_t rows, int64_t K) {
        for (int64_t i = 0; i < rows; i++)
#pragma omp simd
            for (int64_t d = 0; d < K; d++) x[i * K + d] *= factors[i];
    }
};

REGISTER_OP("FourfoldAttention")
    .Input("q: float").Input("k: float").Input("v: float").Output("o: float").Output("lse: float")
    .Attr("causal: bool")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->input(0));
        c->set_output(1, c->UnknownShapeOfRank(4));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("FourfoldAttention").Device(DEVICE_CPU), Attention);

}  // namespace fourfold
