/** What the ops on the GPU share: TensorFlow's tensors as kernels take them, and what is wrong as the op's status. */
#pragma once
#include <algorithm>
#include <numeric>
#include <string>

#include "kernels.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace fourfold::cuda {

using tensorflow::DataType;
using tensorflow::DT_BFLOAT16;
using tensorflow::DT_FLOAT;
using tensorflow::OpInputList;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

/** An op on the GPU. What Run throws becomes the op's status. */
class GpuOp : public OpKernel {
  public:
    using OpKernel::OpKernel;

    void Compute(OpKernelContext* ctx) final {
        try {
            Run(ctx);
        } catch (const std::exception& error) {  // ours, or cuDNN's
            ctx->SetStatus(absl::InternalError(type_string() + ": " + error.what()));
        }
    }

  protected:
    /** Allocates the outputs and enqueues the kernels. */
    virtual void Run(OpKernelContext* ctx) = 0;

    /** Throws what the op needs where the shapes are others. */
    static void Require(OpKernelContext* ctx, bool fits, const std::string& needed) {
        if (fits) return;
        std::string got;
        for (int i = 0; i < ctx->num_inputs(); i++) got += (i > 0 ? ", " : "") + ctx->input(i).shape().DebugString();
        throw Error("it needs " + needed + ", but got " + got);
    }

    template <class Value>
    static Value Attribute(OpKernelConstruction* c, const char* name) {
        Value value{};
        c->SetStatus(c->GetAttr(name, &value));
        return value;
    }

    static Tensor Output(OpKernelContext* ctx, int i, const TensorShape& shape) {
        Tensor* y = nullptr;
        const absl::Status status = ctx->allocate_output(i, shape, &y);
        if (!status.ok()) throw Error(std::string(status.message()));
        return *y;
    }

    /** Memory for the time of the op: TensorFlow gives it to a later one, which the stream puts behind this. */
    static Tensor Scratch(OpKernelContext* ctx, DataType type, int64_t count) {
        Tensor scratch;
        const absl::Status status = ctx->allocate_temp(type, TensorShape({count}), &scratch);
        if (!status.ok()) throw Error(std::string(status.message()));
        return scratch;
    }

    static bool Same(OpKernelContext* ctx, int i, int j) { return ctx->input(i).shape() == ctx->input(j).shape(); }
};

/** Where a tensor lies in the GPU's memory. */
inline void* Data(const Tensor& x) { return const_cast<char*>(x.tensor_data().data()); }

/** How many elements a thread takes at once: as many as 16 bytes hold, or as divide rows of this length. */
inline int WidthFor(DataType type, int64_t length) {
    return std::gcd<int64_t, int64_t>(length, 16 / tensorflow::DataTypeSize(type));
}

/** How many blocks of `size` cover `count`. */
inline int64_t Blocks(int64_t count, int64_t size) { return (count + size - 1) / size; }

/** A block whose threads stand for the columns of a row: THREADS · EACH · WIDTH of them. */
struct Columns {
    int width, threads, each;

    Columns(DataType type, int64_t D, int64_t most = 512) : width(WidthFor(type, D)) {
        const int64_t packs = D / width;
        threads = std::min(most, Blocks(packs, 32) * 32);
        each = Blocks(packs, threads);
    }
    Given With(Given given) const {
        for (const auto& line : {Constant("WIDTH", width), Constant("THREADS", threads), Constant("EACH", each)})
            given.push_back(line);
        return given;
    }
};

/** Registers a kernel for the GPU; further builder calls, such as .HostMemory("numbers"), may follow the name. */
#define FOURFOLD_GPU(name) Name(name).Device(tensorflow::DEVICE_GPU)

}  // namespace fourfold::cuda
