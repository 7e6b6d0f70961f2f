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
#include "../shapes/half-shape.h"
#include "cached-attention.h"

namespace fourfold {

/** Two matrices, a norm before the first, and how both are multiplied. */
struct Half {
    Factor first, second;
    float epsilon;

    Half() = default;
    Half(const HalfShape& shape, bool rounded, float eps)
        : first(shape.first, rounded), second(shape.second, rounded), epsilon(eps) {}

    /** first · norm(x), of the matrix that is input `i`. */
    std::vector<float> Begin(OpKernelContext* ctx, int i, const float* gain, const float* x, int64_t N) const {
        std::vector<float> hidden(N * first.panels.rows);
        first.Times(ctx, PackedBytes(ctx, i), {Prepare::kNorm, gain, epsilon, first.panels.columns}, x, N, nullptr,
                    hidden.data());
        return hidden;
    }

    /** y = [onto +] second · prepared(x), of the matrix that is input `j`. */
    void End(OpKernelContext* ctx, int j, Prepare prepare, const float* x, int64_t N, const float* onto,
             float* y) const {
        second.Times(ctx, PackedBytes(ctx, j), {prepare, nullptr, 0, second.panels.columns}, x, N, onto, y);
    }
};

/** What the two ops have in common. */
class DecoderHalf : public OpKernel {
  public:
    explicit DecoderHalf(OpKernelConstruction* c) : OpKernel(c) {
        OP_REQUIRES_OK(c, numbers_.Read(c));
        half_ = Half(numbers_.shape, numbers_.rounded, numbers_.epsilon);
    }

  protected:
    HalfNumbers numbers_;
    Half half_;

    /** The op's result, of what is between the matrices. */
    void End(OpKernelContext* ctx, Prepare prepare, const float* hidden) const {
        const int64_t N = ctx->input(0).dim_size(0);
        float* y = Out(ctx, 0, TensorShape({N, numbers_.shape.second.rows}));
        const float* onto = numbers_.onto ? In(ctx, ctx->num_inputs() - 1) : nullptr;
        if (ctx->status().ok()) half_.End(ctx, 2, prepare, hidden, N, onto, y);
    }
};

class FeedForward : public DecoderHalf {
  public:
    using DecoderHalf::DecoderHalf;

    void Compute(OpKernelContext* ctx) override {
        OP_REQUIRES(ctx, numbers_.Fits(ctx, 3) && numbers_.shape.IsGated(),
                    WrongShapes(ctx, "x [N, D], up [2F, D], down [D, F], a gain [D], onto [N, D]"));
        const int64_t N = ctx->input(0).dim_size(0);
        End(ctx, Prepare::kSwiglu, half_.Begin(ctx, 1, In(ctx, 3), In(ctx, 0), N).data());
    }
};

class AttentionHalf : public DecoderHalf {
  public:
    explicit AttentionHalf(OpKernelConstruction* c) : DecoderHalf(c) { OP_REQUIRES_OK(c, attention_.Read(c)); }

    void Compute(OpKernelContext* ctx) override {
        constexpr int kCache = 3, kRows = 4, kExtras = 7;
        const int gains = numbers_.qk_norm ? kExtras + 1 : -1;
        const bool fits = numbers_.Fits(ctx, kExtras) && attention_.Fits(ctx, kCache, kRows, gains);
        const int64_t N = ctx->input(0).dim_size(0), K = fits ? ctx->input(kCache + 2).dim_size(1) : 0;
        OP_REQUIRES(ctx, fits && ctx->input(kRows).dim_size(0) == N && numbers_.shape.Holds(attention_, K),
                    WrongShapes(ctx, "x [N, D], qkv, out, cache, rows [N, 2], cos, sin [P, K], gains, onto [N, D]"));
        std::vector<float> o(N * attention_.H * K);
        const std::vector<float> qkv = half_.Begin(ctx, 1, In(ctx, kExtras), In(ctx, 0), N);
        attention_.Run(ctx, qkv.data(), AttentionOverCache::PlacesIn(ctx, kCache, kRows, gains), o.data());
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
