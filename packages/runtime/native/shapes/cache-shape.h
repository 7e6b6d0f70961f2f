/**
 * What attention over caches looks like from outside: where keys and values lie (../ops/cached-attention.h has the
 * picture), and the op's numbers. Processors (../ops) and GPUs (../cuda) share it.
 */
#pragma once
#include "packed-shape.h"

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

/** Attention's numbers. */
struct AttentionNumbers {
    CacheShape cache;  // K is known with the tables
    int64_t H, offset, group, window;
    float scale, softcap, epsilon;

    /** Attribute "attention": format, slots, positions, H, G, offset, group size, window; and three floats. */
    absl::Status Read(tensorflow::OpKernelConstruction* c) {
        std::vector<int32_t> n;
        TF_RETURN_IF_ERROR(ReadInts(c, "attention", 8, &n));
        TF_RETURN_IF_ERROR(c->GetAttr("scale", &scale));
        TF_RETURN_IF_ERROR(c->GetAttr("softcap", &softcap));
        TF_RETURN_IF_ERROR(c->GetAttr("epsilon", &epsilon));
        cache = {static_cast<Format>(n[0]), n[1], n[2], n[4], 0};
        H = n[3], offset = n[5], group = n[6], window = n[7];
        const Format f = cache.format;
        const bool known = f == Format::kF32 || f == Format::kBf16 || f == Format::kQ80;
        if (known && H > 0 && n[4] > 0 && group > 0 && offset >= 0 && (offset + H - 1) / group < n[4])
            return absl::OkStatus();
        return absl::InvalidArgumentError("these heads don't read those of that cache");
    }

    int64_t G() const { return cache.heads; }
    int64_t J(int64_t K) const { return (H + 2 * G()) * K; }

    /** Whether input `at` is a cache, `first` and on rows, cos and sin, and `gains` (or -1) and on those of q and k. */
    bool Fits(tensorflow::OpKernelContext* ctx, int at, int first, int gains) const {
        const tensorflow::Tensor &rows = ctx->input(first), &cos = ctx->input(first + 1);
        if (cos.dims() != 2 || cos.shape() != ctx->input(first + 2).shape()) return false;
        const int64_t K = cos.dim_size(1);
        if (K < 2 || K % 2 != 0 || (InBlocks(cache.format) && K % kBlock != 0)) return false;
        if (rows.dims() != 2 || rows.dim_size(1) != 2) return false;
        for (int i = gains; gains > 0 && i < gains + 2; i++)
            if (ctx->input(i).NumElements() != K) return false;
        CacheShape shape = cache;
        shape.K = K;
        return static_cast<int64_t>(ctx->input(at).TotalBytes()) >= shape.Bytes();
    }

    /** Whether the cache and tables of `positions` have each of the N rows' slots and positions. */
    bool Has(const int32_t* rows, int64_t N, int64_t positions) const {
        for (int64_t n = 0; n < N; n++) {
            const int64_t slot = rows[2 * n], position = rows[2 * n + 1];
            if (slot < 0 || slot >= cache.slots || position < 0 || position >= std::min(cache.positions, positions))
                return false;
        }
        return true;
    }
};

}  // namespace fourfold
