/**
 * The two halves of a decoder's layer, one op each.
 *
 *   FourfoldAttentionHalf(x [N, D], qkv, out, cache, rows, cos, sin, extras...) -> y [N, D]
 *     y = [onto +] out · attention(qkv · norm(x))
 *   FourfoldFeedForward(x [N, D], up, down, extras...) -> y [N, D]
 *     y = [onto +] down · swiglu(up · norm(x))
 *
 * A step of a model with 30 layers reads its 76 MB of weights in some 6 ms, while TensorFlow and its binding take tens
 * of microseconds for every op: five ops a layer would cost as much again. Between these two ops, and nowhere else,
 * ranks that share a layer add up what each has of y.
 *
 * extras: the norm's gain [D], q's and k's gains [K] if they are normalized, onto [N, D].
 * shapes: format, rows and columns of both matrices; how: qk_norm (0 in the feed-forward), onto, rounded.
 */
#pragma once
#include "cached-attention.h"

namespace fourfold {

/** What both have: two matrices, a norm before them, and what they are added to. */
class DecoderHalf : public OpKernel {
  public:
    explicit DecoderHalf(OpKernelConstruction* c) : OpKernel(c) {
        std::vector<int32_t> shapes, how;
        Panels first, second;
        OP_REQUIRES_OK(c, ReadInts(c, "shapes", 6, &shapes));
        OP_REQUIRES_OK(c, ReadInts(c, "how", 3, &how));
        OP_REQUIRES_OK(c, ReadPanels(shapes, 0, &first));
        OP_REQUIRES_OK(c, ReadPanels(shapes, 3, &second));
        OP_REQUIRES_OK(c, c->GetAttr("norm_epsilon", &epsilon_));
        first_ = Factor(first, how[2] != 0);
        second_ = Factor(second, how[2] != 0);
        qk_norm_ = how[0] != 0;
        onto_ = how[1] != 0;
    }

  protected:
    Factor first_, second_;
    float epsilon_;
    bool qk_norm_, onto_;

    /** Whether x, the matrices (inputs 1 and 2) and the extras from `extras` on fit. */
    bool HalfFits(OpKernelContext* ctx, int extras) const {
        const Tensor& x = ctx->input(0);
        const int64_t D = first_.panels.columns;
        if (ctx->num_inputs() != extras + 1 + 2 * qk_norm_ + onto_ || x.dims() != 2 || x.dim_size(1) != D) return false;
        if (!HoldsPanels(ctx, 1, first_.panels) || !HoldsPanels(ctx, 2, second_.panels)) return false;
        const Tensor& last = ctx->input(ctx->num_inputs() - 1);
        return ctx->input(extras).shape() == TensorShape({D}) &&
               (!onto_ || last.shape() == TensorShape({x.dim_size(0), second_.panels.rows}));
    }

    /** first · norm(x). */
    std::vector<float> Begin(OpKernelContext* ctx, int extras) const {
        const int64_t N = ctx->input(0).dim_size(0);
        std::vector<float> hidden(N * first_.panels.rows);
        const Preparation norm{Prepare::kNorm, In(ctx, extras), epsilon_, first_.panels.columns};
        first_.Times(ctx, PackedBytes(ctx, 1), norm, In(ctx, 0), N, nullptr, hidden.data());
        return hidden;
    }

    /** [onto +] second · prepared(x), the op's result. */
    void End(OpKernelContext* ctx, Prepare prepare, const float* x) const {
        const int64_t N = ctx->input(0).dim_size(0);
        float* y = Out(ctx, 0, TensorShape({N, second_.panels.rows}));
        if (!ctx->status().ok()) return;
        second_.Times(ctx, PackedBytes(ctx, 2), {prepare, nullptr, 0, second_.panels.columns}, x, N,
                      onto_ ? In(ctx, ctx->num_inputs() - 1) : nullptr, y);
    }
};

class FeedForward : public DecoderHalf {
  public:
    using DecoderHalf::DecoderHalf;

    void Compute(OpKernelContext* ctx) override {
        OP_REQUIRES(ctx, HalfFits(ctx, 3) && first_.panels.rows == 2 * second_.panels.columns,
                    WrongShapes(ctx, "x [N, D], up [2F, D], down [D, F], a gain [D], onto [N, D]"));
        End(ctx, Prepare::kSwiglu, Begin(ctx, 3).data());
    }
};

class AttentionHalf : public DecoderHalf {
  public:
    explicit AttentionHalf(OpKernelConstruction* c) : DecoderHalf(c) { OP_REQUIRES_OK(c, attention_.Read(c)); }

    void Compute(OpKernelContext* ctx) override {
        constexpr int kCache = 3, kExtras = 7;
        const int gains = qk_norm_ ? kExtras + 1 : -1;
        const bool fits = HalfFits(ctx, kExtras) && attention_.Fits(ctx, kCache, gains);
        const int64_t N = ctx->input(0).dim_size(0), K = fits ? ctx->input(kCache + 2).dim_size(1) : 0;
        OP_REQUIRES(ctx, fits && ctx->input(kCache + 1).dim_size(0) == N && first_.panels.rows == attention_.J(K) &&
                             second_.panels.columns == attention_.H * K,
                    WrongShapes(ctx, "x [N, D], qkv, out, cache, rows [N, 2], cos, sin [P, K], gains, onto [N, D]"));
        std::vector<float> o(N * attention_.H * K);
        attention_.Run(ctx, Begin(ctx, kExtras).data(), kCache, gains, o.data());
        if (ctx->status().ok()) End(ctx, Prepare::kNothing, o.data());
    }

  private:
    AttentionOverCache attention_;
};

REGISTER_OP("FourfoldFeedForward")
    .Input("x: float").Input("up: float").Input("down: float").Input("extras: M * float").Output("y: float")
    .Attr("M: int >= 1").Attr("shapes: list(int)").Attr("how: list(int)").Attr("norm_epsilon: float")
    .SetShapeFn(tensorflow::shape_inference::UnknownShape);
REGISTER_OP("FourfoldAttentionHalf")
    .Input("x: float").Input("qkv: float").Input("out: float").Input("cache: float").Input("rows: int32")
    .Input("cos: float").Input("sin: float").Input("extras: M * float").Output("y: float")
    .Attr("M: int >= 1").Attr("shapes: list(int)").Attr("how: list(int)").Attr("norm_epsilon: float")
    .Attr("attention: list(int)").Attr("scale: float").Attr("softcap: float").Attr("epsilon: float").SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::UnknownShape);
REGISTER_KERNEL_BUILDER(Name("FourfoldFeedForward").Device(DEVICE_CPU), FeedForward);
REGISTER_KERNEL_BUILDER(Name("FourfoldAttentionHalf").Device(DEVICE_CPU), AttentionHalf);

}  // namespace fourfold
