/**
 * A feed-forward that is several, of which a router chooses some for each row (Shazeer et al. 2017; Mixtral 2024).
 *
 *   FourfoldExperts(x [N, D], logits [N, E], up, down, extras...) -> y [N, D]
 *
 *   p = softmax(logits), the `active` largest of each row, of equal ones the first; made to add up to 1 if `normalized`
 *   y_n = Σ over its chosen experts e, in order of e, of p_e · down_e · swiglu(up_e · x_n)     [+ onto]
 *
 * With `gelu` the gate is GELU's and not SiLU's (Grok-1). x is normalized first where there is a gain. `up` has the
 * gate's rows, then up's, of experts `first` and on, one matrix behind the other, `down` the same experts': those that
 * a rank has, which adds up its own alone.
 *
 * shapes: format, rows and columns of both matrices; how: first, count, active, normalized, norm, onto, rounded, gelu.
 *
 * The rows of one expert are multiplied together: in a prompt of 256 tokens each of 8 experts reads its weights once
 * for some 64 of them.
 */
#pragma once
#include "../shapes/experts-shape.h"
#include "packed-product.h"

namespace fourfold {

/** One row's way through one expert. */
struct Visit {
    int64_t expert, row;
    float weight;
};

/** The chosen experts of a row, in order of their number. */
inline void Choose(const float* logits, int64_t experts, int64_t active, bool normalized, int64_t row,
                   std::vector<Visit>* visits) {
    std::vector<int64_t> order(experts);
    for (int64_t e = 0; e < experts; e++) order[e] = e;
    std::stable_sort(order.begin(), order.end(), [=](int64_t a, int64_t b) { return logits[a] > logits[b]; });
    const float most = logits[order[0]];
    float sum = 0;
    for (int64_t e = 0; e < (normalized ? active : experts); e++) sum += Exp(logits[order[e]] - most);
    std::sort(order.begin(), order.begin() + active);
    for (int64_t i = 0; i < active; i++) visits->push_back({order[i], row, Exp(logits[order[i]] - most) / sum});
}

class Experts : public OpKernel {
  public:
    explicit Experts(OpKernelConstruction* c) : OpKernel(c) {
        OP_REQUIRES_OK(c, numbers_.Read(c));
        up_ = Factor(numbers_.up, numbers_.rounded);
        down_ = Factor(numbers_.down, numbers_.rounded);
    }

    void Compute(OpKernelContext* ctx) override {
        OP_REQUIRES(ctx, numbers_.Fits(ctx),
                    WrongShapes(ctx, "x [N, D], logits [N, E], up, down, a gain [D], onto [N, D]"));
        const Panels &up = numbers_.up, &down = numbers_.down;
        const int64_t N = ctx->input(0).dim_size(0), D = up.columns;
        const std::vector<Visit> visits = Visits(ctx);
        const int64_t count = visits.size();
        float* y = OutLike(ctx, 0, 0);
        if (!ctx->status().ok()) return;
        std::vector<float> hidden(count * up.rows), out(count * D);
        const float *x = In(ctx, 0), *gain = numbers_.norm ? In(ctx, 4) : nullptr;
        Through(ctx, up_, 2, {numbers_.Before(), gain, numbers_.epsilon, D}, visits,
                [&](int64_t i) { return x + visits[i].row * D; }, hidden.data());
        Through(ctx, down_, 3, {numbers_.Between(), nullptr, 0, down.columns}, visits,
                [&](int64_t i) { return hidden.data() + i * up.rows; }, out.data());
        if (numbers_.onto) std::copy_n(In(ctx, ctx->num_inputs() - 1), N * D, y);
        else std::fill_n(y, N * D, 0.0f);
        for (int64_t i = 0; i < count; i++)
            for (int64_t d = 0; d < D; d++) y[visits[i].row * D + d] += visits[i].weight * out[i * D + d];
    }

  private:
    ExpertsNumbers numbers_;
    Factor up_, down_;

    /** Every row's visits to experts that are here: expert by expert, and of each row in order. */
    std::vector<Visit> Visits(OpKernelContext* ctx) const {
        const int64_t E = ctx->input(1).dim_size(1), first = numbers_.first, last = first + numbers_.count;
        std::vector<Visit> all, here;
        for (int64_t n = 0; n < ctx->input(0).dim_size(0); n++)
            Choose(In(ctx, 1) + n * E, E, numbers_.active, numbers_.normalized, n, &all);
        for (const Visit& visit : all)
            if (visit.expert >= first && visit.expert < last) here.push_back(visit);
        std::stable_sort(here.begin(), here.end(),
                         [](const Visit& a, const Visit& b) { return a.expert < b.expert; });
        return here;
    }

    /** y [visits, O]: row_of(i), prepared, times the matrix of visit i's expert. Input `w` has the matrices. */
    template <class RowOf>
    void Through(OpKernelContext* ctx, const Factor& factor, int input, const Preparation& prepare,
                 const std::vector<Visit>& visits, RowOf row_of, float* y) const {
        const Panels& w = factor.panels;
        const int64_t count = visits.size(), panels = w.Count();
        PreparedRows rows(count, prepare.Padded(), factor.rounded);
        ForParts(ctx, count, 4 * prepare.Inputs(), [&](int64_t first, int64_t last) {
            for (int64_t i = first; i < last; i++) rows.Take(prepare, row_of(i), i);
        });
        std::vector<int64_t> starts;  // of each expert's visits, and the end of the last one's
        for (int64_t i = 0; i < count; i++)
            if (i == 0 || visits[i].expert != visits[i - 1].expert) starts.push_back(i);
        const int64_t used = starts.size();
        starts.push_back(count);
        ForParts(ctx, used * panels, 2 * w.columns, [&](int64_t first, int64_t last) {
            for (int64_t i = first; i < last; i++) {
                const int64_t from = starts[i / panels], to = starts[i / panels + 1];
                const uint8_t* matrix = PackedBytes(ctx, input) + (visits[from].expert - numbers_.first) * w.MatrixBytes();
                MultiplyInto(w, matrix, i % panels, factor.kernels, rows, from, to, nullptr, y);
            }
        });
    }
};

REGISTER_OP("FourfoldExperts")
    .Input("x: float").Input("logits: float").Input("up: float").Input("down: float").Input("extras: M * float")
    .Output("y: float")
    .Attr("M: int >= 0").Attr("shapes: list(int)").Attr("how: list(int)").Attr("epsilon: float")
    .SetShapeFn(tensorflow::shape_inference::UnknownShape);
REGISTER_KERNEL_BUILDER(Name("FourfoldExperts").Device(DEVICE_CPU), Experts);

}  // namespace fourfold
