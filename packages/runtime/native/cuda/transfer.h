/**
 * Small numbers between the host and the GPU, with nobody waiting: where TensorFlow copies a tensor, the caller waits
 * until all that was enqueued before is done, and the GPU then waits for the caller.
 *
 *   Uploaded                          token numbers, lists of tensors: in the middle of a step
 *   FourfoldUpload(bits: int32)       -> x: float, the numbers that JavaScript made, whose bits lie on the host
 *   FourfoldCopyOut(x: float)         no output: x is on its way to the host, behind what was enqueued before
 *   copied() in module.cc             a promise of the oldest x that has not been asked for
 *   FourfoldCopyInto(x: T)            no output: a part of x is on its way to where aim() in module.cc has said
 *
 * The GPU copies by itself only from and to memory that is pinned: a pool of such pieces, each free again once the
 * event behind its copy has passed. None is ever given back to the system, which can wait for all of the GPU's work.
 */
#pragma once
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "op.h"
#include "tensorflow/core/framework/common_shape_fns.h"

namespace fourfold::cuda {

/** A piece of pinned memory with the event that is recorded behind its copy. */
struct Pinned {
    void* data = nullptr;
    const size_t capacity;
    size_t bytes = 0;  // of the tensor that lies in it
    Event copied{CU_EVENT_DISABLE_TIMING};

    explicit Pinned(size_t size) : capacity(size) {
        Check("cuMemAllocHost", driver().cuMemAllocHost_v2(&data, size));
    }
    ~Pinned() { driver().cuMemFreeHost(data); }
    Pinned(const Pinned&) = delete;
};

/** Copies that are on their way, and pieces that wait for the next. */
class Transfers {
  public:
    /** A copy of `bytes` bytes of the host's, in `to` on the GPU. */
    void Up(OpKernelContext* ctx, const void* data, size_t bytes, const Tensor& to) {
        std::lock_guard<std::mutex> lock(mutex_);
        auto piece = Take(bytes);
        std::memcpy(piece->data, data, bytes);
        const auto target = reinterpret_cast<CUdeviceptr>(Data(to));
        Check("cuMemcpyHtoDAsync", driver().cuMemcpyHtoDAsync_v2(target, piece->data, bytes, StreamOf(ctx)));
        piece->copied.Record(StreamOf(ctx));
        up_.push_back(std::move(piece));
    }

    void Down(OpKernelContext* ctx, const Tensor& x) {
        std::lock_guard<std::mutex> lock(mutex_);
        auto piece = Take(x.TotalBytes());
        const auto from = reinterpret_cast<CUdeviceptr>(Data(x));
        Check("cuMemcpyDtoHAsync", driver().cuMemcpyDtoHAsync_v2(piece->data, from, piece->bytes, StreamOf(ctx)));
        piece->copied.Record(StreamOf(ctx));
        down_.push_back(std::move(piece));
    }

    /** The oldest piece that is coming down, which may not have arrived. */
    std::shared_ptr<Pinned> Oldest() {
        std::lock_guard<std::mutex> lock(mutex_);
        if (down_.empty()) throw Error("nothing was copied out");
        auto piece = down_.front();
        down_.pop_front();
        return piece;
    }

    /** Takes back a piece that has come down and been read. */
    void Spare(const std::shared_ptr<Pinned>& piece) {
        std::lock_guard<std::mutex> lock(mutex_);
        spare_.emplace(piece->capacity, piece);
    }

  private:
    std::mutex mutex_;
    std::deque<std::shared_ptr<Pinned>> up_, down_;
    std::multimap<size_t, std::shared_ptr<Pinned>> spare_;  // by capacity

    /** A piece for `bytes`: the smallest spare one that has room, or a new one. */
    std::shared_ptr<Pinned> Take(size_t bytes) {
        for (; !up_.empty() && up_.front()->copied.Query() == 0; up_.pop_front())
            spare_.emplace(up_.front()->capacity, up_.front());
        const auto spare = spare_.lower_bound(bytes);
        std::shared_ptr<Pinned> piece;
        if (spare == spare_.end()) {
            size_t capacity = 4096;
            while (capacity < bytes) capacity *= 2;
            piece = std::make_shared<Pinned>(capacity);
        } else {
            piece = spare->second;
            spare_.erase(spare);
        }
        piece->bytes = bytes;
        return piece;
    }
};

/** The process's. It is never destroyed, since threads may use it to the last. */
inline Transfers& transfers() {
    static Transfers* const all = new Transfers;
    return *all;
}

/** JavaScript's own memory, where large copies go to: pinned once, since that takes as long as a copy. */
class Landings {
  public:
    /** The next copy goes to byte `at`, inside the `size` bytes of `memory`: x's bytes from `from` on. */
    void Aim(void* memory, size_t size, size_t at, size_t from, size_t bytes) {
        if (at + bytes > size) throw Error("aim: that is outside of the memory");
        if (pinned_.find(memory) == pinned_.end()) {
            Check("cuMemHostRegister", driver().cuMemHostRegister_v2(memory, size, 0));
            pinned_.insert(memory);
        }
        next_ = {static_cast<char*>(memory) + at, from, bytes};
    }

    /** Enqueues that copy. */
    void Copy(OpKernelContext* ctx, const Tensor& x) {
        const Landing to = std::exchange(next_, {});
        if (to.data == nullptr || to.from + to.bytes > x.TotalBytes()) throw Error("no such part of it was aimed at");
        const auto from = reinterpret_cast<CUdeviceptr>(Data(x)) + to.from;
        Check("cuMemcpyDtoHAsync", driver().cuMemcpyDtoHAsync_v2(to.data, from, to.bytes, StreamOf(ctx)));
    }

    /** Memory that is gone by now needs it no more, and the driver says so. */
    void Unpin() {
        for (void* memory : pinned_) driver().cuMemHostUnregister(memory);
        pinned_.clear();
    }

  private:
    struct Landing {
        char* data = nullptr;
        size_t from = 0, bytes = 0;
    } next_;
    std::set<void*> pinned_;
};

/** The process's: JavaScript's thread alone uses it, for the op runs inside the call. */
inline Landings& landings() {
    static Landings* const all = new Landings;
    return *all;
}

/** `values` on the GPU, for the time of the op. */
template <class Value>
Tensor Uploaded(OpKernelContext* ctx, const Value* values, size_t count) {
    Tensor there;
    const int64_t bytes = count * sizeof(Value);
    const absl::Status status = ctx->allocate_temp(tensorflow::DT_UINT8, TensorShape({bytes}), &there);
    if (!status.ok()) throw Error(std::string(status.message()));
    if (bytes > 0) transfers().Up(ctx, values, bytes, there);
    return there;
}

/** Numbers from the host, as the bits of float32. */
class Upload : public GpuOp {
  public:
    using GpuOp::GpuOp;

  protected:
    void Run(OpKernelContext* ctx) override {
        const Tensor& bits = ctx->input(0);
        const Tensor x = Output(ctx, 0, bits.shape());
        if (x.TotalBytes() > 0) transfers().Up(ctx, bits.flat<int32_t>().data(), x.TotalBytes(), x);
    }
};

/** A copy to pinned memory; `copied` of module.cc gives it to JavaScript. */
class CopyOut : public GpuOp {
  public:
    using GpuOp::GpuOp;

  protected:
    void Run(OpKernelContext* ctx) override { transfers().Down(ctx, ctx->input(0)); }
};

/** A copy to JavaScript's own memory, where `aim` has said. */
class CopyInto : public GpuOp {
  public:
    using GpuOp::GpuOp;

  protected:
    void Run(OpKernelContext* ctx) override { landings().Copy(ctx, ctx->input(0)); }
};

REGISTER_OP("FourfoldUpload").Input("bits: int32").Output("x: float")
    .SetShapeFn(tensorflow::shape_inference::UnchangedShape);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldUpload").HostMemory("bits"), Upload);

REGISTER_OP("FourfoldCopyOut").Input("x: float").SetIsStateful().SetShapeFn(tensorflow::shape_inference::NoOutputs);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldCopyOut"), CopyOut);

REGISTER_OP("FourfoldCopyInto").Input("x: T").Attr("T: {float, bfloat16}").SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldCopyInto"), CopyInto);

}  // namespace fourfold::cuda
