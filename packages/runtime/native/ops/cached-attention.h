/**
 * Attention of the rows of a step over the caches of their sequences, in one op: q and k are turned to their position,
 * k and v are written to the cache, and each q looks at what its sequence's cache then holds up to its position.
 *
 *   FourfoldCachedAttention(qkv [N, (H+2G)·K], cache, rows int32 [N, 2], cos and sin± [P, K], gains...) -> o [N, H·K]
 *   FourfoldCopyCache(cache, range int32 [3])        the first `length` positions of slot `from` to slot `to`
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

/** One query over positions first .. last of one head. */
struct Look {
    CacheShape cache;
    const uint8_t *keys, *values;  // of position 0
    float softcap;                 // 0: none

    void Over(const float* q, int64_t first, int64_t last, float* scratch, float* o) const {
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

/** Attention, and how it is computed. */
struct AttentionOverCache : AttentionNumbers {
    /** o [N, H·K] of qkv [N, J]; writes to the cache. The inputs are those that Fits knows. */
    void Run(OpKernelContext* ctx, const float* qkv, int first, int gains, float* o) const {
        const Tensor& rows_tensor = ctx->input(first + 1);
        const int64_t N = rows_tensor.dim_size(0), K = ctx->input(first + 2).dim_size(1);
        const int32_t* rows = rows_tensor.flat<int32_t>().data();
        OP_REQUIRES(ctx, Has(rows, N, ctx->input(first + 2).dim_size(0)),
                    absl::InvalidArgumentError("a row's slot or position is not one of the cache's"));
        Entrance to{cache, static_cast<uint8_t*>(ctx->input(first).data()), In(ctx, first + 2), In(ctx, first + 3)};
        to.cache.K = K;
        if (gains > 0) to.q_gain = In(ctx, gains), to.k_gain = In(ctx, gains + 1);
        std::vector<float> q(N * H * K);
        const auto enter = [&](int64_t a, int64_t b) {
            for (int64_t n = a; n < b; n++) Enter(to, qkv + n * J(K), rows[2 * n], rows[2 * n + 1], &q[n * H * K]);
        };
        if (N == 1) enter(0, 1);
        else ForRows(ctx, N, 8 * J(K), enter);
        ForRows(ctx, N * H, CyclesOf(rows, N, K), [&](int64_t a, int64_t b) {
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
        const float *cos, *sin, *q_gain = nullptr, *k_gain = nullptr;
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
        const bool fits = (gains > 0 || ctx->num_inputs() == 5) && attention_.Fits(ctx, 1, gains);
        const int64_t N = fits ? ctx->input(2).dim_size(0) : 0, K = fits ? ctx->input(3).dim_size(1) : 0;
        OP_REQUIRES(ctx, fits && qkv.dims() >= 2 && qkv.dim_size(0) == N && qkv.NumElements() == N * attention_.J(K),
                    WrongShapes(ctx, "qkv [N, (H+2G)K], cache, rows [N, 2], cos, sin [P, K], gains"));
        float* o = Out(ctx, 0, TensorShape({N, attention_.H * K}));
        if (ctx->status().ok()) attention_.Run(ctx, In(ctx, 0), 1, gains, o);
    }

  private:
    AttentionOverCache attention_;
};

class CopyCache : public OpKernel {
  public:
    explicit CopyCache(OpKernelConstruction* c) : OpKernel(c) {
        OP_REQUIRES_OK(c, ReadInts(c, "cache_shape", 4, &shape_));
    }

    void Compute(OpKernelContext* ctx) override {
        const int32_t* range = ctx->input(1).flat<int32_t>().data();
        const int64_t slots = shape_[0], positions = shape_[1], heads = shape_[2], row = shape_[3];
        const int64_t head = positions * row, slot = head * heads, from = range[0], to = range[1], length = range[2];
        const bool fits = ctx->input(1).NumElements() == 3 && from >= 0 && to >= 0 && from < slots && to < slots &&
                          length >= 0 && length <= positions &&
                          static_cast<int64_t>(ctx->input(0).TotalBytes()) >= slots * slot;
        OP_REQUIRES(ctx, fits, absl::InvalidArgumentError("no such slots or positions in this cache"));
        uint8_t* bytes = static_cast<uint8_t*>(ctx->input(0).data());
        for (int64_t h = 0; h < heads && from != to; h++)
            std::memcpy(bytes + to * slot + h * head, bytes + from * slot + h * head, length * row);
    }

  private:
    std::vector<int32_t> shape_;  // slots, positions, 2G, bytes of a row
};

REGISTER_OP("FourfoldCachedAttention")
    .Input("qkv: float").Input("cache: float").Input("rows: int32").Input("cos: float").Input("sin: float")
    .Input("gains: M * float").Output("o: float")
    .Attr("M: int >= 0").Attr("attention: list(int)").Attr("scale: float").Attr("softcap: float")
    .Attr("epsilon: float").SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::UnknownShape);
REGISTER_OP("FourfoldCopyCache")
    .Input("cache: float").Input("range: int32")
    .Attr("cache_shape: list(int)").SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs);
REGISTER_KERNEL_BUILDER(Name("FourfoldCachedAttention").Device(DEVICE_CPU), CachedAttention);
REGISTER_KERNEL_BUILDER(Name("FourfoldCopyCache").Device(DEVICE_CPU), CopyCache);

}  // namespace fourfold
