/**
 * Attention over a block of keys, forward in one op (the equations stand in packages/ops/src/attention-block.ts).
 *
 *   FourfoldAttention(q [B, T, H, K], k and v [B, S, G, K]; causal, scale) -> o [B, T, H, K], lse [B, H, T]
 *   FourfoldAttention(qkv [B, T, H+2G, K]; causal, scale, kv_heads G)      the same of heads that one tensor has
 *
 * The rows of one head lie as far apart as a token's heads are long, as a linear layer leaves them. A tile is copied
 * into one piece before it is multiplied: rows that lie some KiB apart share a few places of the cache, and would drive
 * each other out.
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
static_assert(kKeys == kQueries && kQueries <= kMostDepth && kQueries % kPanel == 0);

/** Which heads of a tensor [B, tokens, heads, K] are meant: those from `first` on. */
struct Heads {
    int64_t tokens, heads, K, first;

    /** Head h of sequence b: its rows. */
    template <class Float>
    Rows<Float> Of(Float* x, int64_t b, int64_t h) const {
        return {x + (b * tokens * heads + first + h) * K, heads * K};
    }
};

/** H query heads, in groups of R = H / G, each with one head of keys and values. */
struct AttentionShape {
    int64_t B, T, H, S, G, K;
    bool causal;
    float scale;
    bool stacked;  // q, k and v are heads of one tensor, in this order

    int64_t R() const { return H / G; }
    int64_t All() const { return H + 2 * G; }
    Heads Outputs() const { return {T, H, K, 0}; }
    Heads Queries() const { return {T, stacked ? All() : H, K, 0}; }
    Heads Keys() const { return {S, stacked ? All() : G, K, stacked ? H : 0}; }
    Heads Values() const { return {S, stacked ? All() : G, K, stacked ? H + G : 0}; }
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

/** Rows of K numbers in one piece. */
inline Rows<const float> Copy(Rows<const float> x, int64_t rows, int64_t K, float* to) {
    for (int64_t i = 0; i < rows; i++) std::copy_n(x[i], K, to + i * K);
    return {to, K};
}

/** The tile's rows turned, [K, kQueries], times `scale`; zeros in the columns after the last query. */
inline void Turn(Rows<const float> x, const Tile& tile, int64_t K, float scale, float* turned) {
    for (int64_t d = 0; d < K; d++) {
        float* row = turned + d * kQueries;
        for (int64_t i = 0; i < tile.queries; i++) row[i] = x[i][d] * scale;
        std::fill(row + tile.queries, row + tile.columns, 0.0f);
    }
}

/** y = x · turned: a tile of S from keys and queries, or of dP from values and do. */
inline void Multiply(Rows<const float> x, const float* turned, const Tile& tile, int64_t keys, int64_t K, float* y) {
    for (int64_t j = 0; j < keys; j++) std::fill_n(y + j * kQueries, tile.columns, 0.0f);
    AddProduct({x.at, x.row, 1}, {turned, kQueries}, {y, kQueries}, keys, K, tile.columns);
}

/** What the kernels share: the attributes, and q, k and v, which are inputs from `first` on: three, or one. */
class AttentionKernel : public OpKernel {
  public:
    AttentionKernel(OpKernelConstruction* c, int first) : OpKernel(c), first_(first) {
        OP_REQUIRES_OK(c, c->GetAttr("causal", &causal_));
        OP_REQUIRES_OK(c, c->GetAttr("scale", &scale_));
        OP_REQUIRES_OK(c, c->GetAttr("N", &count_));
        OP_REQUIRES_OK(c, c->GetAttr("kv_heads", &kv_heads_));
        OP_REQUIRES(c, count_ == 1 || count_ == 3, absl::InvalidArgumentError("q, k and v are one tensor or three"));
    }

  protected:
    bool Stacked() const { return count_ == 1; }
    /** The input that comes `i`-th after those. */
    int After(int i) const { return first_ + count_ + i; }
    /** Which input k and v are: the same where they are stacked. */
    int KeysInput() const { return first_ + (Stacked() ? 0 : 1); }
    int ValuesInput() const { return first_ + (Stacked() ? 0 : 2); }

    AttentionShape ShapeOf(OpKernelContext* ctx) const {
        const Tensor &q = ctx->input(first_), &k = ctx->input(KeysInput());
        const int64_t G = Stacked() ? kv_heads_ : k.dim_size(2), H = q.dim_size(2) - (Stacked() ? 2 * G : 0);
        return {q.dim_size(0), q.dim_size(1), H, k.dim_size(1), G, q.dim_size(3), causal_, scale_, Stacked()};
    }

    bool Fits(OpKernelContext* ctx) const {
        const Tensor &q = ctx->input(first_), &k = ctx->input(KeysInput());
        if (q.dims() != 4 || k.dims() != 4 || !SameShape(ctx, KeysInput(), ValuesInput())) return false;
        const AttentionShape s = ShapeOf(ctx);
        const bool grouped = s.G > 0 && s.H >= 0 && s.H % s.G == 0, square = !causal_ || s.T == s.S;
        return k.dim_size(0) == s.B && k.dim_size(3) == s.K && s.S > 0 && grouped && square;
    }

    /** What the shapes must be, in words. */
    std::string Needed() const {
        if (Stacked()) return "qkv [B, T, H+2G, K], G dividing H, and T above 0";
        return "q [B, T, H, K], k and v [B, S, G, K], G dividing H, S above 0, and T = S if causal";
    }

    static TensorShape PerQuery(const AttentionShape& s) { return TensorShape({s.B, s.H, s.T}); }
    static TensorShape PerOutput(const AttentionShape& s) { return TensorShape({s.B, s.T, s.H, s.K}); }

  private:
    int first_, count_, kv_heads_;
    bool causal_;
    float scale_;
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
    explicit Attention(OpKernelConstruction* c) : AttentionKernel(c, 0) {}

    void Compute(OpKernelContext* ctx) override {
        OP_REQUIRES(ctx, Fits(ctx), WrongShapes(ctx, Needed()));
        const AttentionShape shape = ShapeOf(ctx);
        const float *q = In(ctx, 0), *k = In(ctx, KeysInput()), *v = In(ctx, ValuesInput());
        float *o = Out(ctx, 0, PerOutput(shape)), *lse = Out(ctx, 1, PerQuery(shape));
        if (!ctx->status().ok()) return;
        const int64_t T = shape.T, S = shape.S, K = shape.K, tiles = (T + kQueries - 1) / kQueries;
        ForRows(ctx, shape.B * shape.H * tiles, kQueries * S * K / 4, [=](int64_t first, int64_t last) {
            std::vector<float> scratch((3 * K + kKeys) * kQueries);
            for (int64_t n = first; n < last; n++) {
                const int64_t bh = n / tiles, b = bh / shape.H, h = bh % shape.H, g = h / shape.R();
                const Head head{shape.Queries().Of(q, b, h), shape.Keys().Of(k, b, g), shape.Values().Of(v, b, g),
                                shape.Outputs().Of(o, b, h), lse + bh * T};
                Attend(shape, head, Tile(shape, n % tiles * kQueries), scratch.data());
            }
        });
    }

  private:
    /** One query head's part of each tensor. */
    struct Head {
        Rows<const float> q, k, v;
        Rows<float> o;
        float* lse;
    };

    static void Attend(const AttentionShape& shape, const Head& head, const Tile& tile, float* scratch) {
        const int64_t K = shape.K, seen = tile.Seen(shape.S);
        float *q_turned = scratch, *o = q_turned + K * kQueries, *p = o + K * kQueries, *copy = p + kKeys * kQueries;
        RunningSoftmax softmax;
        Turn(Copy(head.q.From(tile.start), tile.queries, K, copy), tile, K, shape.scale, q_turned);
        std::fill_n(o, tile.queries * K, 0.0f);
        for (int64_t j = 0; j < seen; j += kKeys) {
            const int64_t keys = std::min(kKeys, seen - j);
            Multiply(Copy(head.k.From(j), keys, K, copy), q_turned, tile, keys, K, p);
            softmax.Take(p, tile, j, keys);
            for (int64_t i = 0; i < tile.queries; i++) ScaleRow(o + i * K, softmax.factor[i], K, o + i * K);
            AddProduct({p, 1, kQueries}, Copy(head.v.From(j), keys, K, copy), {o, K}, tile.queries, keys, K);
        }
        for (int64_t i = 0; i < tile.queries; i++) {
            head.lse[tile.start + i] = softmax.most[i] + std::log(softmax.sum[i]);
            ScaleRow(o + i * K, 1 / softmax.sum[i], K, head.o[tile.start + i]);
        }
    }

    static void ScaleRow(const float* x, float factor, int64_t K, float* y) {
#pragma omp simd
        for (int64_t d = 0; d < K; d++) y[d] = x[d] * factor;
    }
};

REGISTER_OP("FourfoldAttention")
    .Input("qkv: N * T").Output("o: T").Output("lse: float")
    .Attr("N: int >= 1").Attr("T: {float, bfloat16}").Attr("causal: bool").Attr("scale: float").Attr("kv_heads: int")
    .SetShapeFn([](InferenceContext* c) {
        ShapeHandle q;
        DimensionHandle heads;
        int kv_heads = 0;
        TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &q));
        TF_RETURN_IF_ERROR(c->GetAttr("kv_heads", &kv_heads));
        TF_RETURN_IF_ERROR(c->Subtract(c->Dim(q, 2), c->num_inputs() == 1 ? 2 * kv_heads : 0, &heads));
        c->set_output(0, c->MakeShape({c->Dim(q, 0), c->Dim(q, 1), heads, c->Dim(q, 3)}));
        c->set_output(1, c->MakeShape({c->Dim(q, 0), heads, c->Dim(q, 1)}));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("FourfoldAttention").Device(DEVICE_CPU).TypeConstraint<float>("T"), Attention);

}  // namespace fourfold
