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
#include "packed-rows.h"
#include "tensorflow/core/framework/common_shape_fns.h"

namespace fourfold {

/** Where each position's keys and values lie. */
struct CacheShape {
    Format format;
    int64_t slots, positions, heads, K;

    int64_t RowBytes() const { return K * BlockBytes(format) / kBlock; }
    int64_t HeadBytes() const { return positions * RowBytes(); }
    int64_t SlotBytes() const { return 2 * heads * HeadBytes(); }
    int64_t Bytes() const { return slots * SlotBytes(); }
    /** Keys of head g, or values: those are heads G and on. */
    int64_t Of(int64_t slot, int64_t head, int64_t position) const {
        return slot * SlotBytes() + head * HeadBytes() + position * RowBytes();
    }
};

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

class CachedAttention : public OpKernel {
  public:
    explicit CachedAttention(OpKernelConstruction* c) : OpKernel(c) {
        int format;
        OP_REQUIRES_OK(c, c->GetAttr("format", &format));
        OP_REQUIRES_OK(c, c->GetAttr("slots", &slots_));
        OP_REQUIRES_OK(c, c->GetAttr("positions", &positions_));
        OP_REQUIRES_OK(c, c->GetAttr("heads", &H_));
        OP_REQUIRES_OK(c, c->GetAttr("kv_heads", &G_));
        OP_REQUIRES_OK(c, c->GetAttr("head_offset", &offset_));
        OP_REQUIRES_OK(c, c->GetAttr("group_size", &group_));
        OP_REQUIRES_OK(c, c->GetAttr("window", &window_));
        OP_REQUIRES_OK(c, c->GetAttr("scale", &scale_));
        OP_REQUIRES_OK(c, c->GetAttr("softcap", &softcap_));
        OP_REQUIRES_OK(c, c->GetAttr("epsilon", &epsilon_));
        format_ = static_cast<Format>(format);
        const bool known = format_ == Format::kF32 || format_ == Format::kBf16 || format_ == Format::kQ80;
        OP_REQUIRES(c, known && H_ > 0 && G_ > 0 && group_ > 0 && offset_ >= 0 && (offset_ + H_ - 1) / group_ < G_,
                    absl::InvalidArgumentError("these heads don't read those of that cache"));
    }

    void Compute(OpKernelContext* ctx) override {
        OP_REQUIRES(ctx, Fits(ctx), WrongShapes(ctx, "qkv [N, (H+2G)K], cache, rows [N, 2], cos, sin [P, K], gains"));
        const int64_t N = ctx->input(2).dim_size(0), K = ctx->input(3).dim_size(1), H = H_;
        const CacheShape cache{format_, slots_, positions_, G_, K};
        const int32_t* rows = ctx->input(2).flat<int32_t>().data();
        const int64_t most = std::min<int64_t>(positions_, ctx->input(3).dim_size(0));
        for (int64_t n = 0; n < N; n++) {
            const bool there = rows[2 * n] >= 0 && rows[2 * n] < slots_ && rows[2 * n + 1] >= 0 && rows[2 * n + 1] < most;
            OP_REQUIRES(ctx, there, absl::InvalidArgumentError("a row's slot or position is not one of the cache's"));
        }
        uint8_t* bytes = static_cast<uint8_t*>(ctx->input(1).data());
        float* o = Out(ctx, 0, TensorShape({N, H * K}));
        if (!ctx->status().ok()) return;
        std::vector<float> q(N * H * K);
        const auto enter = [&](int64_t first, int64_t last) {
            for (int64_t n = first; n < last; n++) Enter(ctx, n, cache, bytes, q.data() + n * H * K);
        };
        if (N == 1) enter(0, 1);
        else ForRows(ctx, N, 8 * (H + 2 * G_) * K, enter);
        ForRows(ctx, N * H, CyclesOf(rows, N, K), [&](int64_t first, int64_t last) {
            std::vector<float> scratch(K);
            for (int64_t i = first; i < last; i++) {
                const int64_t slot = rows[i / H * 2], position = rows[i / H * 2 + 1], g = (i % H + offset_) / group_;
                const Look look{cache, bytes + cache.Of(slot, g, 0), bytes + cache.Of(slot, G_ + g, 0), softcap_};
                const int64_t start = window_ > 0 ? std::max<int64_t>(0, position + 1 - window_) : 0;
                look.Over(q.data() + i * K, start, position, scratch.data(), o + i * K);
            }
        });
    }

  private:
    Format format_;
    int slots_, positions_, H_, G_, offset_, group_, window_;
    float scale_, softcap_, epsilon_;

    bool Fits(OpKernelContext* ctx) const {
        const Tensor &qkv = ctx->input(0), &rows = ctx->input(2), &cos = ctx->input(3);
        if (cos.dims() != 2 || !SameShape(ctx, 3, 4) || rows.dims() != 2 || rows.dim_size(1) != 2) return false;
        const int64_t K = cos.dim_size(1), N = rows.dim_size(0);
        if (K < 2 || K % 2 != 0 || (InBlocks(format_) && K % kBlock != 0)) return false;
        const CacheShape cache{format_, slots_, positions_, G_, K};
        const bool gains = ctx->num_inputs() == 7;
        if (!gains && ctx->num_inputs() != 5) return false;
        if (gains && (ctx->input(5).NumElements() != K || ctx->input(6).NumElements() != K)) return false;
        return qkv.dims() >= 2 && qkv.dim_size(0) == N && qkv.NumElements() == N * (H_ + 2 * G_) * K &&
               static_cast<int64_t>(ctx->input(1).TotalBytes()) >= cache.Bytes();
    }

    /** What the mean row costs, about. */
    int64_t CyclesOf(const int32_t* rows, int64_t N, int64_t K) const {
        int64_t seen = 0;
        for (int64_t n = 0; n < N; n++) seen += rows[2 * n + 1] + 1;
        return N == 0 ? 0 : seen / N * K / 2;
    }

    /** Takes a row in: its queries to q, times the scale, its keys and values to the cache. */
    void Enter(OpKernelContext* ctx, int64_t n, const CacheShape& cache, uint8_t* bytes, float* q) const {
        const int64_t K = cache.K, J = H_ + 2 * G_;
        const int32_t* row = ctx->input(2).flat<int32_t>().data() + 2 * n;
        const float *qkv = In(ctx, 0) + n * J * K, *cos = In(ctx, 3) + row[1] * K, *sin = In(ctx, 4) + row[1] * K;
        const bool norm = ctx->num_inputs() > 5;
        std::vector<float> head(K), turned(K);
        for (int64_t j = 0; j < H_ + G_; j++) {
            std::copy_n(qkv + j * K, K, head.data());
            if (norm) NormRow(qkv + j * K, In(ctx, j < H_ ? 5 : 6), epsilon_, K, head.data());
            float* to = j < H_ ? q + j * K : turned.data();
            Turn(head.data(), cos, sin, K / 2, j < H_ ? scale_ : 1, to);
            if (j >= H_) WriteRow(format_, to, K, bytes + cache.Of(row[0], j - H_, row[1]));
        }
        for (int64_t g = 0; g < G_; g++)
            WriteRow(format_, qkv + (H_ + G_ + g) * K, K, bytes + cache.Of(row[0], G_ + g, row[1]));
    }

    static void Turn(const float* x, const float* cos, const float* sin, int64_t half, float scale, float* y) {
        for (int64_t i = 0; i < half; i++) {
            y[i] = (x[i] * cos[i] + x[i + half] * sin[i]) * scale;
            y[i + half] = (x[i + half] * cos[i + half] + x[i] * sin[i + half]) * scale;
        }
    }
};

class CopyCache : public OpKernel {
  public:
    explicit CopyCache(OpKernelConstruction* c) : OpKernel(c) {
        OP_REQUIRES_OK(c, c->GetAttr("slots", &slots_));
        OP_REQUIRES_OK(c, c->GetAttr("positions", &positions_));
        OP_REQUIRES_OK(c, c->GetAttr("row_bytes", &row_bytes_));
        OP_REQUIRES_OK(c, c->GetAttr("heads", &heads_));
    }

    void Compute(OpKernelContext* ctx) override {
        const int32_t* range = ctx->input(1).flat<int32_t>().data();
        const int64_t head = int64_t{positions_} * row_bytes_, slot = head * heads_, from = range[0], to = range[1];
        const bool fits = ctx->input(1).NumElements() == 3 && from >= 0 && to >= 0 && from < slots_ && to < slots_ &&
                          range[2] >= 0 && range[2] <= positions_ &&
                          static_cast<int64_t>(ctx->input(0).TotalBytes()) >= slots_ * slot;
        OP_REQUIRES(ctx, fits, absl::InvalidArgumentError("no such slots or positions in this cache"));
        uint8_t* bytes = static_cast<uint8_t*>(ctx->input(0).data());
        for (int64_t h = 0; h < heads_ && from != to; h++)
            std::memcpy(bytes + to * slot + h * head, bytes + from * slot + h * head, int64_t{range[2]} * row_bytes_);
    }

  private:
    int slots_, positions_, row_bytes_, heads_;
};

REGISTER_OP("FourfoldCachedAttention")
    .Input("qkv: float").Input("cache: float").Input("rows: int32").Input("cos: float").Input("sin: float")
    .Input("gains: M * float").Output("o: float")
    .Attr("M: int >= 0").Attr("format: int").Attr("slots: int").Attr("positions: int").Attr("heads: int")
    .Attr("kv_heads: int").Attr("head_offset: int").Attr("group_size: int").Attr("window: int")
    .Attr("scale: float").Attr("softcap: float").Attr("epsilon: float").SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::UnknownShape);
REGISTER_OP("FourfoldCopyCache")
    .Input("cache: float").Input("range: int32")
    .Attr("slots: int").Attr("positions: int").Attr("row_bytes: int").Attr("heads: int").SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs);
REGISTER_KERNEL_BUILDER(Name("FourfoldCachedAttention").Device(DEVICE_CPU), CachedAttention);
REGISTER_KERNEL_BUILDER(Name("FourfoldCopyCache").Device(DEVICE_CPU), CopyCache);

}  // namespace fourfold
