/**
 * Tensors that lie together in memory: several, and one as well, with nothing copied.
 *
 *   FourfoldTogether(xs: N * T) -> ys: N * T                     copies, one behind the other in one piece of memory
 *   FourfoldStack(xs: N * T, each [Rᵢ, C]) -> y [ΣRᵢ, C]          one under the other
 *   FourfoldParts(x [ΣRᵢ, C], rows int32 [N]) -> ys: N * T        the other way round, each [Rᵢ, C]
 *
 * So the weights of q, k and v are one matrix where they are multiplied, and three everywhere else. Stack's result is
 * the memory of its inputs where they lie one behind the other, else a copy. Parts are x's memory; one that would not
 * begin at a multiple of 64 bytes, which TensorFlow's kernels count on, is a copy. Who only reads can't tell.
 *
 * For CPUs and GPUs: only the copying differs.
 */
#pragma once
#include "kernel.h"
#include "tensorflow/core/common_runtime/dma_helper.h"
#include "xla/stream_executor/stream.h"

namespace fourfold {

using tensorflow::TensorBuffer;

constexpr int64_t kAlignment = 64;

inline char* Bytes(const Tensor& x) { return const_cast<char*>(x.tensor_data().data()); }

inline TensorBuffer* RootOf(const Tensor& x) {
    return const_cast<TensorBuffer*>(tensorflow::DMAHelper::buffer(&x))->root_buffer();
}

/** Bytes of a buffer that may span several of the tensors in it. Holds the whole. */
class Window : public TensorBuffer {
  public:
    Window(TensorBuffer* root, char* start, size_t bytes) : TensorBuffer(start), root_(root), bytes_(bytes) {
        root_->Ref();
    }
    ~Window() override { root_->Unref(); }
    size_t size() const override { return bytes_; }
    TensorBuffer* root_buffer() override { return root_; }
    void FillAllocationDescription(tensorflow::AllocationDescription* to) const override {
        root_->FillAllocationDescription(to);
    }

  private:
    TensorBuffer* const root_;
    const size_t bytes_;
};

/** An op that copies bytes between tensors on its own device, in the order of the device's work. */
class CopyingOp : public OpKernel {
  public:
    using OpKernel::OpKernel;

  protected:
    static void Copy(OpKernelContext* ctx, const Tensor& from, char* to) {
        const int64_t bytes = from.TotalBytes();
        if (bytes == 0) return;
        if (ctx->op_device_context() == nullptr || ctx->op_device_context()->stream() == nullptr) {
            std::memcpy(to, Bytes(from), bytes);
            return;
        }
        stream_executor::DeviceAddressBase target(to, bytes);
        const stream_executor::DeviceAddressBase source(Bytes(from), bytes);
        ctx->SetStatus(ctx->op_device_context()->stream()->Memcpy(&target, source, bytes));
    }

    static tensorflow::OpInputList Inputs(OpKernelContext* ctx, const char* name) {
        tensorflow::OpInputList list;
        ctx->SetStatus(ctx->input_list(name, &list));
        return list;
    }
};

class Together : public CopyingOp {
  public:
    using CopyingOp::CopyingOp;

    void Compute(OpKernelContext* ctx) override {
        const auto xs = Inputs(ctx, "xs");
        const int64_t size = tensorflow::DataTypeSize(xs[0].dtype());
        int64_t total = 0;
        for (const Tensor& x : xs) total += Rounded(x.TotalBytes());
        Tensor all;
        OP_REQUIRES_OK(ctx, ctx->allocate_temp(xs[0].dtype(), TensorShape({total / size}), &all));
        int64_t start = 0;
        for (int i = 0; i < xs.size() && ctx->status().ok(); i++) {
            Tensor y;
            const bool fits = y.CopyFrom(all.Slice(start, start + xs[i].NumElements()), xs[i].shape());
            OP_REQUIRES(ctx, fits, absl::InternalError("a part of the memory is of another size"));
            Copy(ctx, xs[i], Bytes(y));
            ctx->set_output(i, y);
            start += Rounded(xs[i].TotalBytes()) / size;
        }
    }

  private:
    static int64_t Rounded(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }
};

class Stack : public CopyingOp {
  public:
    using CopyingOp::CopyingOp;

    void Compute(OpKernelContext* ctx) override {
        const auto xs = Inputs(ctx, "xs");
        int64_t rows = 0;
        for (const Tensor& x : xs) {
            const bool fits = x.dims() == 2 && xs[0].dims() == 2 && x.dim_size(1) == xs[0].dim_size(1);
            OP_REQUIRES(ctx, fits, WrongShapes(ctx, "matrices with rows of one length"));
            rows += x.dim_size(0);
        }
        const TensorShape shape({rows, xs[0].dim_size(1)});
        const auto dtype = xs[0].dtype();
        if (LieTogether(xs)) {
            auto* window = new Window(RootOf(xs[0]), Bytes(xs[0]), shape.num_elements() * DataTypeSize(dtype));
            ctx->set_output(0, Tensor(dtype, shape, window));
            window->Unref();  // the tensor holds it now
            return;
        }
        Tensor* y = nullptr;
        OP_REQUIRES_OK(ctx, ctx->allocate_output(0, shape, &y));
        char* to = Bytes(*y);
        for (const Tensor& x : xs) {
            Copy(ctx, x, to);
            to += x.TotalBytes();
        }
    }

  private:
    static bool LieTogether(const tensorflow::OpInputList& xs) {
        const char* end = Bytes(xs[0]);
        for (const Tensor& x : xs) {
            if (x.NumElements() == 0 || Bytes(x) != end || RootOf(x) != RootOf(xs[0])) return false;
            end += x.TotalBytes();
        }
        return true;
    }
};

class Parts : public CopyingOp {
  public:
    using CopyingOp::CopyingOp;

    void Compute(OpKernelContext* ctx) override {
        const Tensor &x = ctx->input(0), &counts = ctx->input(1);
        const bool fits = x.dims() == 2 && counts.NumElements() == ctx->num_outputs();
        OP_REQUIRES(ctx, fits, WrongShapes(ctx, "x [R, C] and how many rows each part has"));
        const auto rows = counts.flat<int32_t>();
        int64_t start = 0;
        for (int i = 0; i < ctx->num_outputs() && ctx->status().ok(); i++) {
            const int64_t end = start + rows(i);
            OP_REQUIRES(ctx, rows(i) >= 0 && end <= x.dim_size(0), WrongShapes(ctx, "parts that x has rows for"));
            Tensor part = x.Slice(start, end);
            if (start * x.dim_size(1) * DataTypeSize(x.dtype()) % kAlignment != 0) {
                const Tensor from = part;
                OP_REQUIRES_OK(ctx, ctx->allocate_temp(x.dtype(), from.shape(), &part));
                Copy(ctx, from, Bytes(part));
            }
            ctx->set_output(i, part);
            start = end;
        }
    }
};

REGISTER_OP("FourfoldTogether")
    .Input("xs: N * T").Output("ys: N * T").Attr("N: int >= 1").Attr("T: {float, bfloat16}")
    .SetShapeFn([](InferenceContext* c) {
        for (int i = 0; i < c->num_outputs(); i++) c->set_output(i, c->input(i));
        return absl::OkStatus();
    });
REGISTER_OP("FourfoldStack")
    .Input("xs: N * T").Output("y: T").Attr("N: int >= 1").Attr("T: {float, bfloat16}")
    .SetShapeFn([](InferenceContext* c) {
        DimensionHandle rows = c->MakeDim(0);
        ShapeHandle x;
        for (int i = 0; i < c->num_inputs(); i++) {
            TF_RETURN_IF_ERROR(c->WithRank(c->input(i), 2, &x));
            TF_RETURN_IF_ERROR(c->Add(rows, c->Dim(x, 0), &rows));
        }
        c->set_output(0, c->Matrix(rows, c->Dim(x, 1)));
        return absl::OkStatus();
    });
REGISTER_OP("FourfoldParts")
    .Input("x: T").Input("rows: int32").Output("ys: N * T").Attr("N: int >= 1").Attr("T: {float, bfloat16}")
    .SetShapeFn([](InferenceContext* c) {
        ShapeHandle x;
        TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &x));
        for (int i = 0; i < c->num_outputs(); i++) c->set_output(i, c->Matrix(c->UnknownDim(), c->Dim(x, 1)));
        return absl::OkStatus();
    });
#define FOURFOLD_BOTH(name, kernel)                          \
    REGISTER_KERNEL_BUILDER(Name(name).Device(DEVICE_CPU), kernel); \
    REGISTER_KERNEL_BUILDER(Name(name).Device(tensorflow::DEVICE_GPU), kernel)
FOURFOLD_BOTH("FourfoldTogether", Together);
FOURFOLD_BOTH("FourfoldStack", Stack);
REGISTER_KERNEL_BUILDER(Name("FourfoldParts").Device(DEVICE_CPU), Parts);
REGISTER_KERNEL_BUILDER(Name("FourfoldParts").Device(tensorflow::DEVICE_GPU).HostMemory("rows"), Parts);

}  // namespace fourfold
