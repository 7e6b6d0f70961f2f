/**
 * Attention of the rows of a step over the caches of their sequences, in one op: q and k are turned to their position,
 * k and v are written to the cache, and each q looks at what its sequence's cache then holds up to its position.
 *
 *   FourfoldCachedAttention(qkv [N, (H+2G)·K], cache, rows int32 [N, 2], cos and sin± [P, K], gains...) -> o [N, H·K]
 *
 * rows has each row's slot and position. The rows of one slot come in order, so that a prompt's tokens find those
 * before them. The gains, where there are any, are those of RMSNorm over each head of q and of k (Qwen3).
 *
 * The cache, as float32's bytes: for each slot its keys, then its values, head by head, position by position; the K
 * numbers of each as float32, bfloat16 or Q80 (blocks.h), which takes 34/128 of float32's bytes.
 *
 *     slot 0 | keys of head 0: position 0, 1, ... | head 1 | ... | values of head 0: ... |  slot 1 | ...
 *
 * A score exists only while it is used: the softmax runs along with the keys, 32 at a time, and whatever was summed up
 * is brought down when a larger score comes (Milakov and Gimelshein 2018). All sums are float32, in an order that the
 * position alone decides: a row's bits don't depend on the other rows.
 */
#pragma once
#include "../shapes/cache-shape.h"
#include "packed-product.h"

namespace fourfold {

/** K numbers as the cache keeps them. */
inline void WriteRow(Format format, const float* x, int64_t K, uint8_t* to) {
    const int64_t size = format == Format::kF32 ? 4 : 2;
    if (InBlocks(format))
        for (int64_t i = 0; i < K; i += kBlock, to += BlockBytes(format)) QuantizeBlock(format, x + i, to);
    else if (format == Format::kF32) std::memcpy(to, x, size * K);
    else
        for (int64_t i = 0; i < K; i++) Store(to + size * i, FloatToBfloat16(x[i]));
}

/** And back: the row itself where it is float32, else `x`, filled. */
inline const float* ReadCached(Format format, const uint8_t* from, int64_t K, float* x) {
    if (format == Format::kF32) return reinterpret_cast<const float*>(from);
    if (format == Format::kBf16) {
        for (int64_t i = 0; i < K; i++) x[i] = Bfloat16ToFloat(Load<uint16_t>(from + 2 * i));
        return x;
    }
    for (int64_t i = 0; i < K; i += kBlock, from += BlockBytes(Format::kQ80)) {
        const float d = HalfToFloat(Load<uint16_t>(from));
        for (int64_t j = 0; j < kBlock; j++) x[i + j] = d * static_cast<int8_t>(from[2 + j]);
    }
    return x;
}

/** y += factor · x. */
inline void AddScaled(const float* x, float factor, int64_t K, float* y) {
#pragma omp simd
    for (int64_t d = 0; d < K; d++) y[d] += factor * x[d];
}

inline float Dot(const float* x, const float* y, int64_t K) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t d = 0; d < K; d++) sum += x[d] * y[d];
    return sum;
}

/** cap · tanh(s / cap): scores that never leave ±cap (Grok-1). */
inline float Capped(float s, float cap) { return cap * (1 - 2 / (Exp(2 * s / cap) + 1)); }

// The compiler makes the function twice, and the loader takes the one that the processor has the instructions for.
#if defined(__x86_64__) && defined(__ELF__) && defined(__GNUC__) && !defined(__clang__)
#define FOURFOLD_WIDE __attribute__((target_clones("arch=haswell", "default")))
#else
#define FOURFOLD_WIDE
#endif

/** One query over positions first .. last of one head. */
struct Look {
    CacheShape cache;
    const uint8_t *keys, *values;  // of position 0
    float softcap;                 // 0: none

    FOURFOLD_WIDE void Over(const float* q, int64_t first, int64_t last, float* scratch, float* o) const {
        constexpr int64_t kKeys = 32;
        float most = std::numeric_limits<float>::lowest(), sum = 0, p[kKeys];
        std::fill_n(o, cache.K, 0.0f);
        for (int64_t start = first; start <= last; start += kKeys) {
            const int64_t count = std::min(kKeys, last + 1 - start);
            const float before = most;
            for (int64_t j = 0; j < count; j++) {
                p[j] = Dot(q, Row(keys, start + j, scratch), cache.K);
                if (softcap > 0) p[j] = Capped(p[j], softcap);
                most = p[j] > most ? p[j] : most;
            }
            const float factor = Exp(before - most);
            float part = 0;
            for (int64_t j = 0; j < count; j++) part += p[j] = Exp(p[j] - most);
            sum = sum * factor + part;
            for (int64_t d = 0; d < cache.K; d++) o[d] *= factor;
            for (int64_t j = 0; j < count; j++) AddScaled(Row(values, start + j, scratch), p[j], cache.K, o);
        }
        for (int64_t d = 0; d < cache.K; d++) o[d] /= sum;
    }

    const float* Row(const uint8_t* head, int64_t position, float* scratch) const {
        return ReadCached(cache.format, head + position * cache.RowBytes(), cache.K, scratch);
    }
};

/** What attention reads and writes besides q, k and v. */
struct Places {
    uint8_t* cache;
    const int32_t* rows;  // N of a slot and a position
    int64_t N;
    const float *cos, *sin;  // [positions, K]
    int64_t positions, K;
    const float *q_gain, *k_gain;  // or null
};

/** Attention, and how it is computed. */
struct AttentionOverCache : AttentionNumbers {
    /** Inputs that Fits has found good: the cache, and with `first` rows, cos and sin; `gains`, or -1. */
    static Places PlacesIn(OpKernelContext* ctx, int cache, int first, int gains) {
        const Tensor &rows = ctx->input(first), &cos = ctx->input(first + 1);
        return {static_cast<uint8_t*>(ctx->input(cache).data()),
                rows.flat<int32_t>().data(),
                rows.dim_size(0),
                In(ctx, first + 1),
                In(ctx, first + 2),
                cos.dim_size(0),
                cos.dim_size(1),
                gains > 0 ? In(ctx, gains) : nullptr,
                gains > 0 ? In(ctx, gains + 1) : nullptr};
    }

    /** o [N, H·K] of qkv [N, J]; writes to the cache. */
    void Run(OpKernelContext* ctx, const float* qkv, const Places& places, float* o) const {
        const int64_t N = places.N, K = places.K;
        const int32_t* rows = places.rows;
        OP_REQUIRES(ctx, Has(rows, N, places.positions),
                    absl::InvalidArgumentError("a row's slot or position is not one of the cache's"));
        Entrance to{cache, places.cache, places.cos, places.sin, places.q_gain, places.k_gain};
        to.cache.K = K;
        std::vector<float> q(N * H * K);
        const auto enter = [&](int64_t a, int64_t b) {
            for (int64_t n = a; n < b; n++) Enter(to, qkv + n * J(K), rows[2 * n], rows[2 * n + 1], &q[n * H * K]);
        };
        if (N == 1) enter(0, 1);
        else ForParts(ctx, N, 8 * J(K), enter);
        ForParts(ctx, N * H, CyclesOf(rows, N, K), [&](int64_t a, int64_t b) {
            std::vector<float> scratch(K);
            for (int64_t i = a; i < b; i++) {
                const int64_t slot = rows[i / H * 2], position = rows[i / H * 2 + 1], g = (i % H + offset) / group;
                const Look look{to.cache, to.bytes + to.cache.Of(slot, g, 0), to.bytes + to.cache.Of(slot, G() + g, 0),
                                softcap};
                const int64_t start = window > 0 ? std::max<int64_t>(0, position + 1 - window) : 0;
                look.Over(&q[i * K], start, position, scratch.data(), o + i * K);
            }
        });
    }

  private:
    /** Where a row's keys and values go, and what they need before. */
    struct Entrance {
        CacheShape cache;
        uint8_t* bytes;
        const float *cos, *sin, *q_gain, *k_gain;
    };

    /** What the mean row costs, about. */
    static int64_t CyclesOf(const int32_t* rows, int64_t N, int64_t K) {
        int64_t seen = 0;
        for (int64_t n = 0; n < N; n++) seen += rows[2 * n + 1] + 1;
        return N == 0 ? 0 : seen / N * K / 2;
    }

    /** Takes a row in: its queries to q, times the scale, its keys and values to the cache. */
    void Enter(const Entrance& to, const float* qkv, int64_t slot, int64_t position, float* q) const {
        const int64_t K = to.cache.K;
        const float *cos = to.cos + position * K, *sin = to.sin + position * K;
        std::vector<float> head(K), turned(K);
        for (int64_t j = 0; j < H + G(); j++) {
            const float* gain = j < H ? to.q_gain : to.k_gain;
            if (gain) NormRow(qkv + j * K, gain, epsilon, K, head.data());
            float* y = j < H ? q + j * K : turned.data();
            Turn(gain ? head.data() : qkv + j * K, cos, sin, K / 2, j < H ? scale : 1, y);
            if (j >= H) WriteRow(cache.format, y, K, to.bytes + to.cache.Of(slot, j - H, position));
        }
        for (int64_t g = 0; g < G(); g++)
            WriteRow(cache.format, qkv + (H + G() + g) * K, K, to.bytes + to.cache.Of(slot, G() + g, position));
    }

    static void Turn(const float* x, const float* cos, const float* sin, int64_t half, float scale, float* y) {
#pragma omp simd
        for (int64_t i = 0; i < half; i++) {
            y[i] = (x[i] * cos[i] + x[i + half] * sin[i]) * scale;
            y[i + half] = (x[i + half] * cos[i + half] + x[i] * sin[i + half]) * scale;
        }
    }
};

class CachedAttention : public OpKernel {
  public:
    explicit CachedAttention(OpKernelConstruction* c) : OpKernel(c) { OP_REQUIRES_OK(c, attention_.Read(c)); }

    void Compute(OpKernelContext* ctx) override {
        const Tensor& qkv = ctx->input(0);
        const int gains = ctx->num_inputs() == 7 ? 5 : -1;
        const bool fits = (gains > 0 || ctx->num_inputs() == 5) && attention_.Fits(ctx, 1, 2, gains);
        const int64_t N = fits ? ctx->input(2).dim_size(0) : 0, K = fits ? ctx->input(3).dim_size(1) : 0;
        OP_REQUIRES(ctx, fits && qkv.dims() >= 2 && qkv.dim_size(0) == N && qkv.NumElements() == N * attention_.J(K),
                    WrongShapes(ctx, "qkv [N, (H+2G)K], cache, rows [N, 2], cos, sin [P, K], gains"));
        float* o = Out(ctx, 0, TensorShape({N, attention_.H * K}));
        if (ctx->status().ok()) attention_.Run(ctx, In(ctx, 0), AttentionOverCache::PlacesIn(ctx, 1, 2, gains), o);
    }

  private:
    AttentionOverCache attention_;
};

REGISTER_OP("FourfoldCachedAttention")
    .Input("qkv: float").Input("cache: float").Input("rows: int32").Input("cos: float").Input("sin: float")
    .Input("gains: M * float").Output("o: float")
    .Attr("M: int >= 0").Attr("attention: list(int)").Attr("scale: float").Attr("softcap: float")
    .Attr("epsilon: float").SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::UnknownShape);
REGISTER_KERNEL_BUILDER(Name("FourfoldCachedAttention").Device(DEVICE_CPU), CachedAttention);

}  // namespace fourfold
