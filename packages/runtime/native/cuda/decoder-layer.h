/**
 * Attention over caches and the two halves of a decoder's layer on the GPU (../ops/cached-attention.h and
 * ../ops/decoder-layer.h have the ops and their numbers): 5 and 4 kernels behind one another.
 */
#pragma once
#include "../shapes/half-shape.h"
#include "packed.h"

namespace fourfold::cuda {

/** Attention of a step's rows. */
struct Attention : AttentionNumbers {
    /** o [N, H·K] of qkv [N, J]; writes to the cache. The inputs are those that Fits knows. */
    void Run(OpKernelContext* ctx, void* qkv, int first, int gains, void* o) const {
        constexpr int kWarps = 8;  // of cached-attention.cu
        const Tensor &rows = ctx->input(first + 1), &cos = ctx->input(first + 2);
        const int64_t N = rows.dim_size(0), K = cos.dim_size(1);
        const int32_t* numbers = rows.flat<int32_t>().data();
        if (!Has(numbers, N, cos.dim_size(0))) throw Error("a row's slot or position is not one of the cache's");
        const Tensor q = Factor::Memory(ctx, N * H * K), there = Uploaded(ctx, numbers, 2 * N);
        const Given given{Constant("FORMAT", static_cast<int>(cache.format)), Constant("K", K), Constant("H", H),
                          Constant("G", G()), Constant("NORMED", gains > 0), Constant("CAPPED", softcap > 0)};
        void* const bytes = Data(ctx->input(first));
        void *q_gain = nullptr, *k_gain = nullptr;
        if (gains > 0) q_gain = Data(ctx->input(gains)), k_gain = Data(ctx->input(gains + 1));
        const int positions = cache.positions;
        const Grid heads{N, Blocks(H + 2 * G(), kWarps)};
        Launch(ctx, Find("cached-attention.cu", "enter", given), heads, 32 * kWarps, qkv, Data(there), Data(cos),
               Data(ctx->input(first + 3)), q_gain, k_gain, epsilon, scale, bytes, positions, Data(q));
        Launch(ctx, Find("cached-attention.cu", "look", given), {N, H}, 32 * kWarps, Data(q), Data(there), bytes,
               positions, static_cast<int>(offset), static_cast<int>(group), static_cast<int>(window), softcap, o);
    }
};

class CachedAttention : public GpuOp {
  public:
    explicit CachedAttention(OpKernelConstruction* c) : GpuOp(c) { OP_REQUIRES_OK(c, attention_.Read(c)); }

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor& qkv = ctx->input(0);
        const int gains = ctx->num_inputs() == 7 ? 5 : -1;
        const bool fits = (gains > 0 || ctx->num_inputs() == 5) && attention_.Fits(ctx, 1, 2, gains);
        const int64_t N = fits ? ctx->input(2).dim_size(0) : 0, K = fits ? ctx->input(3).dim_size(1) : 0;
        Require(ctx,
                fits && qkv.dims() >= 2 && qkv.dim_size(0) == N && qkv.NumElements() == N * attention_.J(K),
                "qkv [N, (H+2G)K], cache, rows [N, 2], cos, sin [P, K], gains");
        const Tensor o = Output(ctx, 0, TensorShape({N, attention_.H * K}));
        attention_.Run(ctx, Data(qkv), 1, gains, Data(o));
    }

  private:
    Attention attention_;
};

class CopyCache : public GpuOp {
  public:
    explicit CopyCache(OpKernelConstruction* c) : GpuOp(c) {
        OP_REQUIRES_OK(c, ReadInts(c, "cache_shape", 4, &shape_));
    }

  protected:
    void Run(OpKernelContext* ctx) override {
        const int64_t slots = shape_[0], positions = shape_[1], heads = shape_[2], row = shape_[3];
        const int64_t head = positions * row, slot = head * heads;
        if (ctx->input(1).NumElements() != 3) throw Error("it needs range [3]");
        const int32_t* range = ctx->input(1).flat<int32_t>().data();
        const int64_t from = range[0], to = range[1], length = range[2];
        const bool fits = from >= 0 && to >= 0 && from < slots && to < slots && length >= 0 && length <= positions &&
                          static_cast<int64_t>(ctx->input(0).TotalBytes()) >= slots * slot;
        if (!fits) throw Error("no such slots or positions in this cache");
        if (from == to) return;
        const int64_t unit = std::gcd<int64_t, int64_t>(row, 16), units = length * row / unit;
        char* const bytes = static_cast<char*>(Data(ctx->input(0)));
        const Grid grid{std::min<int64_t>(Blocks(units, 256), 64), heads};
        Launch(ctx, Find("copy-cache.cu", "copy_cache", {Constant("UNIT", unit)}), grid, 256, bytes + from * slot,
               bytes + to * slot, units, head / unit);
    }

  private:
    std::vector<int32_t> shape_;  // slots, positions, 2G, bytes of a row
};

// ## Halves of a layer

/** What both have: two matrices, a norm before them, and what they are added to. */
class DecoderHalf : public GpuOp {
  public:
    explicit DecoderHalf(OpKernelConstruction* c) : GpuOp(c) {
        OP_REQUIRES_OK(c, numbers_.Read(c));
        first_ = Factor(numbers_.shape.first, numbers_.rounded);
        second_ = Factor(numbers_.shape.second, numbers_.rounded);
    }

  protected:
    HalfNumbers numbers_;
    Factor first_, second_;

    /** first · norm(x); the norm's gain is input `gain`. */
    Tensor Begin(OpKernelContext* ctx, int gain) const {
        const int64_t N = ctx->input(0).dim_size(0);
        const Tensor hidden = Factor::Memory(ctx, N * first_.panels.rows);
        const Preparation norm{Prepare::kNorm, Data(ctx->input(gain)), numbers_.epsilon};
        first_.Times(ctx, Data(ctx->input(1)), norm, Data(ctx->input(0)), N, nullptr, Data(hidden));
        return hidden;
    }

    /** [onto +] second · prepared(x), the op's result. */
    void End(OpKernelContext* ctx, Prepare prepare, const Tensor& x) const {
        const int64_t N = ctx->input(0).dim_size(0);
        const Tensor y = Output(ctx, 0, TensorShape({N, second_.panels.rows}));
        void* const onto = numbers_.onto ? Data(ctx->input(ctx->num_inputs() - 1)) : nullptr;
        second_.Times(ctx, Data(ctx->input(2)), {prepare, nullptr, 0}, Data(x), N, onto, Data(y));
    }
};

class FeedForward : public DecoderHalf {
  public:
    using DecoderHalf::DecoderHalf;

  protected:
    void Run(OpKernelContext* ctx) override {
        Require(ctx, numbers_.Fits(ctx, 3) && numbers_.shape.IsGated(),
                "x [N, D], up [2F, D], down [D, F], a gain [D], onto [N, D]");
        End(ctx, Prepare::kSwiglu, Begin(ctx, 3));
    }
};

class AttentionHalf : public DecoderHalf {
  public:
    explicit AttentionHalf(OpKernelConstruction* c) : DecoderHalf(c) { OP_REQUIRES_OK(c, attention_.Read(c)); }

  protected:
    void Run(OpKernelContext* ctx) override {
        constexpr int kCache = 3, kExtras = 7;
        const int gains = numbers_.qk_norm ? kExtras + 1 : -1;
        const bool fits = numbers_.Fits(ctx, kExtras) && attention_.Fits(ctx, kCache, kCache + 1, gains);
        const int64_t N = ctx->input(0).dim_size(0), K = fits ? ctx->input(kCache + 2).dim_size(1) : 0;
        Require(ctx, fits && ctx->input(kCache + 1).dim_size(0) == N && numbers_.shape.Holds(attention_, K),
                "x [N, D], qkv, out, cache, rows [N, 2], cos, sin [P, K], gains, onto [N, D]");
        const Tensor qkv = Begin(ctx, kExtras), o = Factor::Memory(ctx, N * attention_.H * K);
        attention_.Run(ctx, Data(qkv), kCache, gains, Data(o));
        End(ctx, Prepare::kNothing, o);
    }

  private:
    Attention attention_;
};

REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldCachedAttention").HostMemory("rows"), CachedAttention);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldCopyCache").HostMemory("range"), CopyCache);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldFeedForward"), FeedForward);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldAttentionHalf").HostMemory("rows"), AttentionHalf);

}  // namespace fourfold::cuda
