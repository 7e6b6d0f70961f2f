/**
 * The ops of messages between two ranks.
 *
 *   FourfoldNcclAllToAll(x [n·A, ...]) -> y            y like x: part j of rank i becomes part i of rank j
 *   FourfoldNcclSendReceive(xs..., plan) -> ys...      any messages to and from any ranks, all at once
 */
#pragma once
#include "collective.h"

namespace fourfold::nccl {

/** `count` elements from number `first` on; NCCL starts it at the end of the batch. */
inline void Send(const Group& g, const Tensor& x, int64_t first, int64_t count, int peer) {
    const char* data = DataOf(x) + first * DataTypeSize(x.dtype());
    Check("ncclSend", nccl().ncclSend(data, count, TypeOf(x), peer, g.comm, g.stream), g.comm);
}

/** The same the other way. */
inline void Receive(const Group& g, const Tensor& y, int64_t first, int64_t count, int peer) {
    char* data = DataOf(y) + first * DataTypeSize(y.dtype());
    Check("ncclRecv", nccl().ncclRecv(data, count, TypeOf(y), peer, g.comm, g.stream), g.comm);
}

/** Part j of rank i's x becomes part i of rank j's y: n messages each way, started together. */
class AllToAll : public Collective {
  public:
    using Collective::Collective;

  protected:
    void Run(OpKernelContext* ctx, const Group& group) override {
        const Tensor x = ctx->input(0);
        Require(x.dims() > 0 && x.dim_size(0) % group.size == 0, "axis 0 of x must be divisible by the ranks");
        const Tensor y = Output(ctx, 0, x.shape());
        const int64_t part = x.NumElements() / group.size;
        Start(ctx, {x, y}, [&](const Group& g) {
            if (part == 0) return;
            Together(g, [&] {
                for (int peer = 0; peer < g.size; peer++) {
                    Send(g, x, peer * part, part, peer);  // to itself too: NCCL copies
                    Receive(g, y, peer * part, part, peer);
                }
            });
        });
    }
};

// Messages may be of three dtypes at once, and an op's list of tensors is of one: so there are three lists of tensors
// to send and three of tensors received. `plan` has, for each message in the caller's order,
//     0, dtype, peer                   a tensor to send: the next one of the dtype's list
//     1, dtype, peer, rank, sides...   a tensor to receive, of this shape: the next one of the dtype's list
// with dtype 0 float, 1 bfloat16, 2 int32. NCCL matches messages of two ranks in the order in which each names them.
class SendReceive : public Collective {
  public:
    using Collective::Collective;

  protected:
    void Run(OpKernelContext* ctx, const Group& group) override {
        std::vector<Message> messages = Read(ctx, group);
        std::vector<Tensor> tensors;
        for (const Message& message : messages) tensors.push_back(message.tensor);
        Start(ctx, std::move(tensors), [&](const Group& g) {
            Together(g, [&] {
                for (const Message& m : messages) {
                    const int64_t count = m.tensor.NumElements();
                    if (count == 0) continue;
                    m.received ? Receive(g, m.tensor, 0, count, m.peer) : Send(g, m.tensor, 0, count, m.peer);
                }
            });
        });
    }

  private:
    struct Message {
        bool received;
        int peer;
        Tensor tensor;
    };

    /** The messages of `plan`, with a new output for each that is to be received. */
    static std::vector<Message> Read(OpKernelContext* ctx, const Group& group) {
        int next[2][3];  // where the next tensor of each list lies among all inputs, and among all outputs
        const char* names[2][3] = {{"floats", "halves", "ints"}, {"got_floats", "got_halves", "got_ints"}};
        int stop[2][3];
        for (int type = 0; type < 3; type++) {
            const bool found = ctx->op_kernel().InputRange(names[0][type], &next[0][type], &stop[0][type]).ok() &&
                               ctx->op_kernel().OutputRange(names[1][type], &next[1][type], &stop[1][type]).ok();
            Require(found, "its lists are missing");
        }
        const Tensor& plan = ctx->input(ctx->num_inputs() - 1);  // on the host
        const int32_t* at = plan.flat<int32_t>().data();
        const int32_t* const end = at + plan.NumElements();
        std::vector<Message> messages;
        while (at < end) {
            Require(end - at >= 3, "plan ends in the middle of a message");
            const int received = *at++, type = *at++, peer = *at++;
            Require((received == 0 || received == 1) && type >= 0 && type < 3, "plan has a message of no known kind");
            Require(peer >= 0 && peer < group.size, "plan names a rank that is not in the group");
            const int i = next[received][type]++;
            Require(i < stop[received][type], "plan has more messages than tensors");
            messages.push_back({received == 1, peer, received == 1 ? Output(ctx, i, ShapeAt(at, end)) : ctx->input(i)});
        }
        for (int list = 0; list < 6; list++)
            Require(next[list / 3][list % 3] == stop[list / 3][list % 3], "plan has fewer messages than tensors");
        return messages;
    }

    /** The shape that begins at `at`, which is moved behind it. */
    static TensorShape ShapeAt(const int32_t*& at, const int32_t* end) {
        Require(at < end && *at >= 0 && *at < end - at, "plan ends in the middle of a shape");
        TensorShape shape;
        for (int side = *at++; side > 0; side--) {
            Require(*at >= 0, "plan has a negative side");
            shape.AddDim(*at++);
        }
        return shape;
    }
};

}  // namespace fourfold::nccl
