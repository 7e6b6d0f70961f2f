/** What the ops share: TensorFlow's headers, its tensors as NCCL takes them, and an op that starts one collective. */
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "communicators.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "xla/stream_executor/stream.h"

namespace fourfold::nccl {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

/** NCCL's number for a tensor's dtype. */
inline ncclDataType_t TypeOf(const Tensor& x) {
    switch (x.dtype()) {
        case tensorflow::DT_FLOAT: return ncclFloat32;
        case tensorflow::DT_BFLOAT16: return ncclBfloat16;
        default: return ncclInt32;
    }
}

/** Where a tensor lies: NCCL takes pointers that it may write to. */
inline char* DataOf(const Tensor& x) { return const_cast<char*>(x.tensor_data().data()); }

/** Throws what would have been needed. */
inline void Require(bool condition, std::string_view needed) {
    if (!condition) throw Error(std::string(needed));
}

/** An op that starts one collective. What it throws becomes the op's status. */
class Collective : public OpKernel {
  public:
    explicit Collective(OpKernelConstruction* construction) : OpKernel(construction) {
        OP_REQUIRES_OK(construction, construction->GetAttr("comm", &comm_));
    }

    void Compute(OpKernelContext* ctx) final {
        try {
            Run(ctx, communicators().At(comm_));
        } catch (const Error& error) {
            ctx->SetStatus(absl::InternalError(type_string() + ": " + error.what()));
        }
    }

  protected:
    /** Allocates the outputs and calls Start. */
    virtual void Run(OpKernelContext* ctx, const Group& group) = 0;

    /** Output `i`, on the GPU. */
    static Tensor Output(OpKernelContext* ctx, int i, const TensorShape& shape) {
        Tensor* y = nullptr;
        const absl::Status status = ctx->allocate_output(i, shape, &y);
        Require(status.ok(), status.message());
        return *y;
    }

    /** Enqueues NCCL calls that read and write `tensors`, between TensorFlow's ops before and after. */
    void Start(OpKernelContext* ctx, std::vector<Tensor> tensors, const Enqueue& enqueue) const {
        const CUstream compute = ctx->op_device_context()->stream()->platform_specific_handle().stream;
        communicators().Start(comm_, compute, std::make_shared<std::vector<Tensor>>(std::move(tensors)), enqueue);
    }

  private:
    int comm_;
};

/** The shape of x with `side` as the length of axis 0. */
inline TensorShape WithFirst(const Tensor& x, int64_t side) {
    Require(x.dims() > 0, "a single number has no axis to split or join along");
    TensorShape shape = x.shape();
    shape.set_dim(0, side);
    return shape;
}

/** Calls between ncclGroupStart and ncclGroupEnd start together, so that no order of them can deadlock. */
template <class Calls>
void Together(const Group& group, Calls calls) {
    Check("ncclGroupStart", nccl().ncclGroupStart(), group.comm);
    calls();
    Check("ncclGroupEnd", nccl().ncclGroupEnd(), group.comm);
}

}  // namespace fourfold::nccl
