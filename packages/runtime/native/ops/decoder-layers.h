/**
 * Several layers of a decoder in one op, sums over ranks included: what decoder-layer.h's two ops do in turns.
 *
 *   FourfoldDecoderLayers(x [N, D], rows, cos, sin, caches..., matrices..., gains...) -> y [N, D]
 *     for every layer:
 *       x += out · attention(qkv · norm(x))          [summed over the ranks that share the layer]
 *       x += down · swiglu(up · norm(x))             [summed over the ranks]
 *
 * A token of a model with 30 layers takes some 10 ms, of which TensorFlow and its binding would spend a third on 60
 * ops. The bits are those of the ops one by one.
 *
 * Of each layer: one cache; qkv, out, up, down; the gains of both norms, and of q's and k's if they are normalized.
 * shapes: format, rows and columns of the four matrices, which all layers share. how: qk_norm, rounded, lanes (-1: one
 * rank has all of the layer).
 */
#pragma once
#include "decoder-layer.h"
#include "sum-over-ranks.h"

namespace fourfold {

class DecoderLayers : public OpKernel {
  public:
    explicit DecoderLayers(OpKernelConstruction* c) : OpKernel(c) {
        std::vector<int32_t> shapes, how;
        OP_REQUIRES_OK(c, ReadInts(c, "shapes", 12, &shapes));
        OP_REQUIRES_OK(c, ReadInts(c, "how", 3, &how));
        OP_REQUIRES_OK(c, look_shape_.Read(shapes, 0));
        OP_REQUIRES_OK(c, forward_shape_.Read(shapes, 6));
        OP_REQUIRES_OK(c, attention_.Read(c));
        float epsilon;
        OP_REQUIRES_OK(c, c->GetAttr("norm_epsilon", &epsilon));
        OP_REQUIRES_OK(c, c->GetAttr("L", &layers_));
        qk_norm_ = how[0] != 0, lanes_ = how[2];
        look_ = Half(look_shape_, how[1] != 0, epsilon);
        forward_ = Half(forward_shape_, how[1] != 0, epsilon);
    }

    void Compute(OpKernelContext* ctx) override {
        OP_REQUIRES(ctx, Fits(ctx), WrongShapes(ctx, "x [N, D], rows [N, 2], cos, sin [P, K], and L layers"));
        const int64_t N = ctx->input(0).dim_size(0), D = ctx->input(0).dim_size(1);
        OpenLanes* open = lanes_ < 0 ? nullptr : LanesAt(lanes_);
        OP_REQUIRES(ctx, lanes_ < 0 || open, absl::FailedPreconditionError("the lanes to the other ranks are closed"));
        float* y = Out(ctx, 0, ctx->input(0).shape());
        if (!ctx->status().ok() || N == 0) return;
        std::copy_n(In(ctx, 0), N * D, y);
        Stream stream{y, std::vector<float>(open ? N * D : 0), std::vector<float>(open ? N * D : 0), nullptr};
        if (open) stream.sum = std::make_unique<RankSum>(open->lanes.get(), BlockPlan{open->format, N, D});
        for (int layer = 0; layer < layers_ && ctx->status().ok(); layer++) Layer(ctx, layer, N, stream);
    }

  private:
    HalfShape look_shape_, forward_shape_;
    Half look_, forward_;
    AttentionOverCache attention_;
    bool qk_norm_;
    int64_t lanes_, layers_;

    /** x, to which every half adds: itself, or all ranks' parts of it. */
    struct Stream {
        float* x;
        std::vector<float> part, summed;
        std::unique_ptr<RankSum> sum;

        const float* Onto() const { return sum ? nullptr : x; }
        float* To() { return sum ? part.data() : x; }
        absl::Status Added() {
            if (!sum) return absl::OkStatus();
            TF_RETURN_IF_ERROR(sum->Compute(part.data(), x, summed.data()));
            std::copy(summed.begin(), summed.end(), x);
            return absl::OkStatus();
        }
    };

    // Where a layer's inputs are.
    static constexpr int kRows = 1, kCaches = 4;
    int Matrix(int layer, int i) const { return kCaches + layers_ + 4 * layer + i; }
    int Gain(int layer, int i) const { return kCaches + 5 * layers_ + (qk_norm_ ? 4 : 2) * layer + i; }

    void Layer(OpKernelContext* ctx, int layer, int64_t N, Stream& stream) const {
        const int gains = qk_norm_ ? Gain(layer, 2) : -1;
        const Places places = AttentionOverCache::PlacesIn(ctx, kCaches + layer, kRows, gains);
        const std::vector<float> qkv = look_.Begin(ctx, Matrix(layer, 0), In(ctx, Gain(layer, 0)), stream.x, N);
        std::vector<float> o(N * attention_.H * places.K);
        attention_.Run(ctx, qkv.data(), places, o.data());
        if (!ctx->status().ok()) return;
        look_.End(ctx, Matrix(layer, 1), Prepare::kNothing, o.data(), N, stream.Onto(), stream.To());
        OP_REQUIRES_OK(ctx, stream.Added());
        const std::vector<float> up = forward_.Begin(ctx, Matrix(layer, 2), In(ctx, Gain(layer, 1)), stream.x, N);
        forward_.End(ctx, Matrix(layer, 3), Prepare::kSwiglu, up.data(), N, stream.Onto(), stream.To());
        OP_REQUIRES_OK(ctx, stream.Added());
    }

    bool Fits(OpKernelContext* ctx) const {
        const Tensor& x = ctx->input(0);
        const int64_t D = look_shape_.first.columns;
        if (ctx->num_inputs() != Gain(layers_, 0) || x.dims() != 2 || x.dim_size(1) != D) return false;
        if (look_shape_.second.rows != D || forward_shape_.first.columns != D) return false;
        if (forward_shape_.second.rows != D || !forward_shape_.IsGated()) return false;
        for (int layer = 0; layer < layers_; layer++)
            if (!LayerFits(ctx, layer, D)) return false;
        return ctx->input(kRows).dim_size(0) == x.dim_size(0);
    }

    bool LayerFits(OpKernelContext* ctx, int layer, int64_t D) const {
        for (int i = 0; i < 2; i++)
            if (ctx->input(Gain(layer, i)).shape() != TensorShape({D})) return false;
        const int gains = qk_norm_ ? Gain(layer, 2) : -1;
        return look_shape_.HeldAt(ctx, Matrix(layer, 0), Matrix(layer, 1)) &&
               forward_shape_.HeldAt(ctx, Matrix(layer, 2), Matrix(layer, 3)) &&
               attention_.Fits(ctx, kCaches + layer, kRows, gains) &&
               look_shape_.Holds(attention_, ctx->input(kRows + 1).dim_size(1));
    }
};

REGISTER_OP("FourfoldDecoderLayers")
    .Input("x: float").Input("rows: int32").Input("cos: float").Input("sin: float").Input("caches: L * float")
    .Input("matrices: R * float").Input("gains: M * float").Output("y: float")
    .Attr("L: int >= 1").Attr("R: int >= 1").Attr("M: int >= 1").Attr("shapes: list(int)").Attr("how: list(int)")
    .Attr("norm_epsilon: float").Attr("attention: list(int)").Attr("scale: float").Attr("softcap: float")
    .Attr("epsilon: float").SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::UnknownShape);
REGISTER_KERNEL_BUILDER(Name("FourfoldDecoderLayers").Device(DEVICE_CPU), DecoderLayers);

}  // namespace fourfold
