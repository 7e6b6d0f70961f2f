/**
 * The beginning of one sequence's cache (cached-attention.h) for another sequence, which begins alike.
 *
 *   FourfoldCopyCache(cache, range int32 [3])        the first `length` positions of slot `from` to slot `to`
 */
#pragma once
#include "packed-product.h"

namespace fourfold {

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

REGISTER_OP("FourfoldCopyCache")
    .Input("cache: float").Input("range: int32")
    .Attr("cache_shape: list(int)").SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs);
REGISTER_KERNEL_BUILDER(Name("FourfoldCopyCache").Device(DEVICE_CPU), CopyCache);

}  // namespace fourfold
