/**
 * The collectives as TensorFlow ops. T is float, bfloat16 or int32; `comm` is a communicator's number.
 *
 *   FourfoldNcclAllReduce(x) -> y                      y like x; `reduction` 0 sum, 1 mean, 2 largest
 *   FourfoldNcclReduceScatter(x [n·A, ...]) -> y       y [A, ...], this rank's part of the n; `reduction` likewise
 *   FourfoldNcclAllGather(x [A, ...]) -> y             y [n·A, ...]
 *   FourfoldNcclAllGatherUneven(x, sizes [n]) -> y     y [sum of sizes, ...], where rank r brings sizes[r]
 *   FourfoldNcclBroadcast(x) -> y                      y like x, from rank `root`
 *   FourfoldNcclAllToAll(x [n·A, ...]) -> y            y like x: part j of rank i becomes part i of rank j
 *   FourfoldNcclSendReceive(xs..., plan) -> ys...      messages between two ranks (messages.h)
 *
 * NCCL takes what lies together in memory, so parts are along axis 0. An output can be read on TensorFlow's stream once
 * that has waited for the op's ticket (communicators.h), and not before.
 */
#include "collective.h"
#include "messages.h"
#include "tensorflow/core/framework/common_shape_fns.h"

namespace fourfold::nccl {

using tensorflow::shape_inference::UnchangedShape;
using tensorflow::shape_inference::UnknownShape;

// ## Sums

/** A reduction's number in the attribute `reduction`, as NCCL has it. */
static ncclRedOp_t ReductionOf(OpKernelConstruction* construction) {
    int reduction = 0;
    construction->SetStatus(construction->GetAttr("reduction", &reduction));
    switch (reduction) {
        case 0: return ncclSum;
        case 1: return ncclAvg;
        case 2: return ncclMax;
    }
    construction->CtxFailure(absl::InvalidArgumentError("reduction must be 0 (sum), 1 (mean) or 2 (largest)"));
    return ncclSum;
}

/** y = the sum, mean or largest of all ranks' x, on each of them. */
class AllReduce : public Collective {
  public:
    explicit AllReduce(OpKernelConstruction* construction)
        : Collective(construction), reduction_(ReductionOf(construction)) {}

  protected:
    void Run(OpKernelContext* ctx, const Group&) override {
        const Tensor x = ctx->input(0), y = Output(ctx, 0, x.shape());
        Start(ctx, {x, y}, [&](const Group& g) {
            if (x.NumElements() == 0) return;
            const ncclResult_t result = nccl().ncclAllReduce(DataOf(x), DataOf(y), x.NumElements(), TypeOf(x),
                                                             reduction_, g.comm, g.stream);
            Check("ncclAllReduce", result, g.comm);
        });
    }

  private:
    const ncclRedOp_t reduction_;
};

/** y = this rank's part of it along axis 0. */
class ReduceScatter : public Collective {
  public:
    explicit ReduceScatter(OpKernelConstruction* construction)
        : Collective(construction), reduction_(ReductionOf(construction)) {}

  protected:
    void Run(OpKernelContext* ctx, const Group& group) override {
        const Tensor x = ctx->input(0);
        Require(x.dims() > 0 && x.dim_size(0) % group.size == 0, "axis 0 of x must be divisible by the ranks");
        const Tensor y = Output(ctx, 0, WithFirst(x, x.dim_size(0) / group.size));
        Start(ctx, {x, y}, [&](const Group& g) {
            if (y.NumElements() == 0) return;
            const ncclResult_t result = nccl().ncclReduceScatter(DataOf(x), DataOf(y), y.NumElements(), TypeOf(x),
                                                                 reduction_, g.comm, g.stream);
            Check("ncclReduceScatter", result, g.comm);
        });
    }

  private:
    const ncclRedOp_t reduction_;
};

// ## Parts and wholes

/** y = all ranks' x, joined along axis 0. */
class AllGather : public Collective {
  public:
    using Collective::Collective;

  protected:
    void Run(OpKernelContext* ctx, const Group& group) override {
        const Tensor x = ctx->input(0);
        Require(x.dims() > 0, "a single number has no axis to join along");
        const Tensor y = Output(ctx, 0, WithFirst(x, x.dim_size(0) * group.size));
        Start(ctx, {x, y}, [&](const Group& g) {
            if (x.NumElements() == 0) return;
            const ncclResult_t result =
                nccl().ncclAllGather(DataOf(x), DataOf(y), x.NumElements(), TypeOf(x), g.comm, g.stream);
            Check("ncclAllGather", result, g.comm);
        });
    }
};

// NCCL gathers equal parts only. Unequal ones are broadcasts, one from each rank, started together.
class AllGatherUneven : public Collective {
  public:
    using Collective::Collective;

  protected:
    void Run(OpKernelContext* ctx, const Group& group) override {
        const Tensor x = ctx->input(0);
        const Tensor& lengths = ctx->input(1);  // on the host
        Require(lengths.NumElements() == group.size, "sizes must have one number for each rank");
        const int32_t* sizes = lengths.flat<int32_t>().data();
        Require(x.dims() > 0 && sizes[group.rank] == x.dim_size(0), "x must be as long as sizes says of this rank");
        int64_t total = 0;
        for (int r = 0; r < group.size; r++) {
            Require(sizes[r] >= 0, "sizes must not be negative");
            total += sizes[r];
        }
        const Tensor y = Output(ctx, 0, WithFirst(x, total));
        const int64_t row = total == 0 ? 0 : y.NumElements() / total;  // elements of one place along axis 0
        Start(ctx, {x, y}, [&](const Group& g) {
            Together(g, [&] { Broadcasts(g, x, y, sizes, row); });
        });
    }

  private:
    static void Broadcasts(const Group& g, const Tensor& x, const Tensor& y, const int32_t* sizes, int64_t row) {
        char* place = DataOf(y);
        for (int root = 0; root < g.size; root++) {
            const int64_t count = sizes[root] * row;
            if (count == 0) continue;
            const char* from = root == g.rank ? DataOf(x) : place;
            Check("ncclBroadcast", nccl().ncclBroadcast(from, place, count, TypeOf(x), root, g.comm, g.stream), g.comm);
            place += count * DataTypeSize(x.dtype());
        }
    }
};

/** y = the root's x. */
class Broadcast : public Collective {
  public:
    explicit Broadcast(OpKernelConstruction* construction) : Collective(construction) {
        OP_REQUIRES_OK(construction, construction->GetAttr("root", &root_));
    }

  protected:
    void Run(OpKernelContext* ctx, const Group& group) override {
        Require(root_ >= 0 && root_ < group.size, "root must be one of the ranks");
        const Tensor x = ctx->input(0), y = Output(ctx, 0, x.shape());
        Start(ctx, {x, y}, [&](const Group& g) {
            if (x.NumElements() == 0) return;
            const ncclResult_t result =
                nccl().ncclBroadcast(DataOf(x), DataOf(y), x.NumElements(), TypeOf(x), root_, g.comm, g.stream);
            Check("ncclBroadcast", result, g.comm);
        });
    }

  private:
    int root_;
};

// ## Registration

#define COLLECTIVE(name) REGISTER_OP(name).Attr("T: {float, bfloat16, int32}").Attr("comm: int").SetIsStateful()

COLLECTIVE("FourfoldNcclAllReduce").Input("x: T").Output("y: T").Attr("reduction: int").SetShapeFn(UnchangedShape);
COLLECTIVE("FourfoldNcclReduceScatter").Input("x: T").Output("y: T").Attr("reduction: int").SetShapeFn(UnknownShape);
COLLECTIVE("FourfoldNcclAllGather").Input("x: T").Output("y: T").SetShapeFn(UnknownShape);
COLLECTIVE("FourfoldNcclAllGatherUneven").Input("x: T").Input("sizes: int32").Output("y: T").SetShapeFn(UnknownShape);
COLLECTIVE("FourfoldNcclBroadcast").Input("x: T").Output("y: T").Attr("root: int").SetShapeFn(UnchangedShape);
COLLECTIVE("FourfoldNcclAllToAll").Input("x: T").Output("y: T").SetShapeFn(UnchangedShape);
REGISTER_OP("FourfoldNcclSendReceive")
    .Input("floats: F * float").Input("halves: H * bfloat16").Input("ints: I * int32").Input("plan: int32")
    .Output("got_floats: P * float").Output("got_halves: Q * bfloat16").Output("got_ints: R * int32")
    .Attr("F: int >= 0").Attr("H: int >= 0").Attr("I: int >= 0")
    .Attr("P: int >= 0").Attr("Q: int >= 0").Attr("R: int >= 0")
    .Attr("comm: int").SetIsStateful().SetShapeFn(UnknownShape);

// What decides the course of the host lies in its memory; all other tensors are on the GPU, int32 ones too.
#define ON_GPU(name) Name(name).Device(tensorflow::DEVICE_GPU)

REGISTER_KERNEL_BUILDER(ON_GPU("FourfoldNcclAllReduce"), AllReduce);
REGISTER_KERNEL_BUILDER(ON_GPU("FourfoldNcclReduceScatter"), ReduceScatter);
REGISTER_KERNEL_BUILDER(ON_GPU("FourfoldNcclAllGather"), AllGather);
REGISTER_KERNEL_BUILDER(ON_GPU("FourfoldNcclAllGatherUneven").HostMemory("sizes"), AllGatherUneven);
REGISTER_KERNEL_BUILDER(ON_GPU("FourfoldNcclBroadcast"), Broadcast);
REGISTER_KERNEL_BUILDER(ON_GPU("FourfoldNcclAllToAll"), AllToAll);
REGISTER_KERNEL_BUILDER(ON_GPU("FourfoldNcclSendReceive").HostMemory("plan"), SendReceive);

}  // namespace fourfold::nccl
