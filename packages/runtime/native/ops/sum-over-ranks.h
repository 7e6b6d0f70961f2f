/**
 * The sum that tensor parallelism takes twice a layer, in one op: of all ranks' parts, onto the residual stream.
 *
 *   FourfoldSumOverRanks(part [N, D], onto [N, D]; lanes) -> y [N, D]        y = onto + Σ parts, in the ranks' order
 *
 * Two ranks send each other their parts. More have two ways, of b bytes a message:
 *
 *     directly      everybody sends its part to everybody             one hop,  (n-1)·b sent
 *     in two steps  rank r gets slice r of all parts and adds it up;  two hops, 2(n-1)/n·b sent
 *                   then everybody sends its sum to everybody
 *
 * The second is for what is large: prompts. Which it was can't be seen in the result. What travels is rounded (see
 * transfer-format.h), a rank's own part like the others', so that all ranks hold the same bits; and where there are more
 * than two ranks the sum is rounded too, for in two steps it has to travel.
 */
#pragma once
#include "lanes.h"
#include "transfer-format.h"

namespace fourfold {

/** The way of messages of so many bytes among n: two steps where they save 64 KiB, which a hop's time would carry. */
inline bool InTwoSteps(int64_t bytes, int64_t n) { return (n - 1) * bytes - 2 * (n - 1) * bytes / n > (64 << 10); }

class RankSum {
  public:
    RankSum(Lanes* lanes, const BlockPlan& plan)
        : lanes_(lanes),
          plan_(plan),
          n_(lanes->size()),
          steps_(InTwoSteps(plan.Bytes(), n_)),
          messages_(n_, std::vector<uint8_t>(plan.Bytes())) {}

    absl::Status Compute(const float* part, const float* onto, float* y) {
        Encode(part, 0, plan_.Blocks(), messages_[lanes_->rank()]);
        TF_RETURN_IF_ERROR(SendParts());
        const int64_t first = steps_ ? FirstOf(lanes_->rank()) : 0;
        const int64_t last = steps_ ? FirstOf(lanes_->rank() + 1) : plan_.Blocks();
        for (int64_t block = first; block < last; block++) AddUp(block, y + plan_.First(block));
        if (n_ > 2) {
            std::vector<uint8_t>& sums = messages_[lanes_->rank()];
            Encode(y, first, last, sums);
            if (steps_) TF_RETURN_IF_ERROR(SendSums(sums));
            for (int64_t block = 0; block < plan_.Blocks(); block++)
                DecodeBlock(plan_.format, &sums[plan_.Start(block)], plan_.Count(block), y + plan_.First(block));
        }
        const int64_t count = plan_.rows * plan_.columns;
        for (int64_t i = 0; i < count; i++) y[i] += onto[i];
        return absl::OkStatus();
    }

  private:
    Lanes* const lanes_;
    const BlockPlan plan_;
    const int n_;
    const bool steps_;
    std::vector<std::vector<uint8_t>> messages_;

    /** The first block of a rank's slice. */
    int64_t FirstOf(int rank) const { return plan_.Blocks() * rank / n_; }

    void Encode(const float* x, int64_t first, int64_t last, std::vector<uint8_t>& to) const {
        for (int64_t i = first; i < last; i++)
            EncodeBlock(plan_.format, x + plan_.First(i), plan_.Count(i), &to[plan_.Start(i)]);
    }

    /** sum = the ranks' blocks, added up in their order. */
    void AddUp(int64_t block, float* sum) const {
        const int64_t start = plan_.Start(block), count = plan_.Count(block);
        float numbers[kTransferBlock];
        DecodeBlock(plan_.format, &messages_[0][start], count, sum);
        for (int rank = 1; rank < n_; rank++) {
            DecodeBlock(plan_.format, &messages_[rank][start], count, numbers);
            for (int64_t i = 0; i < count; i++) sum[i] += numbers[i];
        }
    }

    /** The bytes of a rank's slice in a message; directly, all bytes are everybody's. */
    int64_t StartOf(int rank) const { return steps_ ? plan_.Start(FirstOf(rank)) : 0; }
    size_t BytesOf(int rank) const { return steps_ ? plan_.Start(FirstOf(rank + 1)) - StartOf(rank) : plan_.Bytes(); }

    /** To each its slice of this rank's part, from each this rank's slice of its own. */
    absl::Status SendParts() {
        const int self = lanes_->rank();
        return Exchange([&](int peer) -> Traffic {
            return {&messages_[self][StartOf(peer)], BytesOf(peer), &messages_[peer][StartOf(self)], BytesOf(self)};
        });
    }

    /** To all this rank's slice of the sum, from each its own. */
    absl::Status SendSums(std::vector<uint8_t>& sums) {
        const int self = lanes_->rank();
        return Exchange([&](int peer) -> Traffic {
            return {&sums[StartOf(self)], BytesOf(self), &sums[StartOf(peer)], BytesOf(peer)};
        });
    }

    template <class TrafficWith>
    absl::Status Exchange(TrafficWith with) {
        std::vector<Traffic> traffic(n_);
        for (int peer = 0; peer < n_; peer++)
            if (peer != lanes_->rank()) traffic[peer] = with(peer);
        return lanes_->Exchange(traffic);
    }
};

// ## The lanes of this process, by number

struct OpenLanes {
    std::unique_ptr<Lanes> lanes;
    TransferFormat format;
};

/** A process has one rank of a model at a time; in tests it has several. Numbers are never used again. */
static std::vector<OpenLanes> open_lanes;

inline OpenLanes* LanesAt(int64_t number) {
    const bool is_open = number >= 0 && number < static_cast<int64_t>(open_lanes.size()) && open_lanes[number].lanes;
    return is_open ? &open_lanes[number] : nullptr;
}

class SumOverRanks : public OpKernel {
  public:
    explicit SumOverRanks(OpKernelConstruction* c) : OpKernel(c) { OP_REQUIRES_OK(c, c->GetAttr("lanes", &number_)); }

    void Compute(OpKernelContext* ctx) override {
        const TensorShape& shape = ctx->input(0).shape();
        OP_REQUIRES(ctx, shape.dims() == 2 && SameShape(ctx, 0, 1), WrongShapes(ctx, "part and onto [N, D]"));
        OpenLanes* open = LanesAt(number_);
        OP_REQUIRES(ctx, open, absl::FailedPreconditionError("the lanes to the other ranks are closed"));
        float* y = OutLike(ctx, 0, 0);
        if (!ctx->status().ok() || shape.num_elements() == 0) return;
        RankSum sum(open->lanes.get(), {open->format, shape.dim_size(0), shape.dim_size(1)});
        ctx->SetStatus(sum.Compute(In(ctx, 0), In(ctx, 1), y));
    }

  private:
    int64_t number_;
};

REGISTER_OP("FourfoldSumOverRanks")
    .Input("part: float").Input("onto: float").Output("y: float").Attr("lanes: int").SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->input(0));
        return absl::OkStatus();
    });
REGISTER_KERNEL_BUILDER(Name("FourfoldSumOverRanks").Device(DEVICE_CPU), SumOverRanks);
// A GPU's part goes through the host, as it must to reach a socket.
REGISTER_KERNEL_BUILDER(Name("FourfoldSumOverRanks").Device(tensorflow::DEVICE_GPU)
    .HostMemory("part").HostMemory("onto").HostMemory("y"), SumOverRanks);

}  // namespace fourfold
