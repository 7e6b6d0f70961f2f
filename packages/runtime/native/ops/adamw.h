/**
 * AdamW of all parameters in one op, in place, and the length of all gradients (packages/optim has the equations).
 *
 *   FourfoldAdamW(weights N * T, masters K * float, m N * M, v N * M, grads N * G, squares [],
 *                 numbers [9], decays [N], keys [N])                   no output: writes weights, masters, m and v
 *   FourfoldSquaredNorm(grads N * G, shares [N]) -> float []           Σ_i shares_i Σ g_i²
 *
 * numbers: learning rate, β₁, β₂, ε, 1 - β₁ᵗ, 1 - β₂ᵗ, weight decay, longest gradient (0: any), t. `squares` is the
 * squared length of all gradients, on the device: they are shortened here to the longest one, so that nobody need wait
 * for it. decays[i]: whether the decay is for parameter i. keys[i]: where its random bits come from.
 *
 * T bfloat16 with masters (K = N): those are updated, and rounded to weights, to nearest. Without (K = 0): weights are
 * rounded stochastically, by the lower 16 of an element's random bits. M bfloat16: m is rounded to nearest, v by the
 * upper 16: v loses 1 - β₂ of itself in a step, which may be less than half the distance to the next number, and to
 * nearest it could never become smaller. m loses 10 % and can.
 *
 * numbers and shares are the bits of float32 in int32 tensors: tfjs leaves int32 in the host's memory, from where they
 * are read. Of float32 it makes copies on the GPU, and waits for each until all that was enqueued before is done.
 */
#pragma once
#include "kernel.h"
#include "stochastic-rounding.h"
#include "tensorflow/core/platform/denormal.h"

namespace fourfold {

using tensorflow::OpInputList;

/** Elements `first` up to `last` of tensor `tensor` of a list. */
struct Piece {
    int tensor;
    int64_t first, last;
};

/** All tensors of a list in pieces that depend on their sizes alone: so sums don't depend on the number of threads. */
inline std::vector<Piece> PiecesOf(const OpInputList& tensors) {
    constexpr int64_t kPiece = 16384;  // a piece of each of AdamW's arrays fits into the cache
    std::vector<Piece> pieces;
    for (int i = 0; i < tensors.size(); i++)
        for (int64_t first = 0, size = tensors[i].NumElements(); first < size; first += kPiece)
            pieces.push_back({i, first, std::min(size, first + kPiece)});
    return pieces;
}

/** Calls work(piece's number) for all pieces, on TensorFlow's threads. Numbers below 1e-38 are 0 on all of them. */
template <class Work>
void ForPieces(OpKernelContext* ctx, const std::vector<Piece>& pieces, Work work) {
    ForRows(ctx, pieces.size(), 50000, [&](int64_t first, int64_t last) {
        tensorflow::port::ScopedFlushDenormal flush;
        for (int64_t i = first; i < last; i++) work(i);
    });
}

/** Input `name`, an int32 tensor of `size` numbers that are the bits of float32; else empty, and the context says so. */
inline std::vector<float> FloatsOf(OpKernelContext* ctx, const char* name, int64_t size) {
    const Tensor* bits = nullptr;
    ctx->SetStatus(ctx->input(name, &bits));
    if (!ctx->status().ok()) return {};
    if (bits->NumElements() != size) {
        ctx->SetStatus(absl::InvalidArgumentError(std::string(name) + " are of another number"));
        return {};
    }
    std::vector<float> floats(size);
    std::memcpy(floats.data(), bits->data(), size * sizeof(float));
    return floats;
}

// ## One parameter's elements

/** What is the same for all of them. */
struct Rates {
    float rate, beta1, beta2, epsilon;
    float root;  // 1 / √(1 - β₂ᵗ)
    float decay;
    float factor;  // what clipping leaves of the gradients
    uint32_t step;

    Rates(const std::vector<float>& numbers, float squares) {
        beta1 = numbers[1], beta2 = numbers[2], epsilon = numbers[3];
        rate = numbers[0] / numbers[4];  // m̂ = m / (1 - β₁ᵗ)
        root = 1 / std::sqrt(numbers[5]);
        decay = numbers[0] * numbers[6];
        const float limit = numbers[7], length = std::sqrt(squares);
        factor = limit > 0 && length > limit ? limit / length : 1;
        step = static_cast<uint32_t>(numbers[8]);
    }
};

// A bfloat16 lies in memory as a uint16_t.

inline float Widened(float x) { return x; }
inline float Widened(uint16_t x) {
    const uint32_t bits = static_cast<uint32_t>(x) << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
}
inline void Nearest(float x, float* to) { *to = x; }
inline void Nearest(float x, uint16_t* to) { *to = RoundToNearest(BitsOf(x)); }
inline void Stochastic(float x, uint32_t, float* to) { *to = x; }
inline void Stochastic(float x, uint32_t random, uint16_t* to) { *to = RoundStochastically(BitsOf(x), random); }

/** Elements `first` up to `last`. `masters` may be `weights`, where there are no others. */
template <class T, class W, class M, class G>
void Update(const Rates& r, bool decays, uint32_t key, int64_t first, int64_t last, T* weights, W* masters, M* ms,
            M* vs, const G* grads) {
    const float keep = decays ? r.decay : 0;
#pragma omp simd
    for (int64_t i = first; i < last; i++) {
        const uint32_t random = RandomBits(key, r.step, static_cast<uint32_t>(i));
        const float g = Widened(grads[i]) * r.factor;
        const float m = r.beta1 * Widened(ms[i]) + (1 - r.beta1) * g;
        const float v = r.beta2 * Widened(vs[i]) + (1 - r.beta2) * g * g;
        const float before = Widened(masters[i]);
        const float after = before - keep * before - r.rate * m / (std::sqrt(v) * r.root + r.epsilon);
        Nearest(m, ms + i);
        Stochastic(v, random >> 16, vs + i);
        Stochastic(after, random, masters + i);
        if (!std::is_same<T, W>::value) Nearest(after, weights + i);
    }
}

// ## The ops

/** T, M and G as they lie in memory: float or uint16_t. */
template <class T, class M, class G>
class AdamW : public OpKernel {
  public:
    using OpKernel::OpKernel;

    void Compute(OpKernelContext* ctx) override {
        OpInputList weights, masters, ms, vs, grads;
        OP_REQUIRES_OK(ctx, ctx->input_list("weights", &weights));
        OP_REQUIRES_OK(ctx, ctx->input_list("masters", &masters));
        OP_REQUIRES_OK(ctx, ctx->input_list("m", &ms));
        OP_REQUIRES_OK(ctx, ctx->input_list("v", &vs));
        OP_REQUIRES_OK(ctx, ctx->input_list("grads", &grads));
        const int N = weights.size(), K = masters.size();
        const Tensor *squares = nullptr, *decays = nullptr, *keys = nullptr;
        OP_REQUIRES_OK(ctx, ctx->input("squares", &squares));
        OP_REQUIRES_OK(ctx, ctx->input("decays", &decays));
        OP_REQUIRES_OK(ctx, ctx->input("keys", &keys));
        bool fits = K == 0 || (K == N && !std::is_same<T, float>::value);
        fits = fits && squares->NumElements() == 1 && decays->NumElements() == N && keys->NumElements() == N;
        for (int i = 0; fits && i < N; i++)
            for (const Tensor* one : {&ms[i], &vs[i], &grads[i], K > 0 ? &masters[i] : &weights[i]})
                fits = fits && one->shape() == weights[i].shape();
        OP_REQUIRES(ctx, fits, absl::InvalidArgumentError("FourfoldAdamW needs, for each weight, tensors of its shape"));
        const std::vector<float> numbers = FloatsOf(ctx, "numbers", 9);
        if (!ctx->status().ok()) return;
        const Rates rates(numbers, squares->flat<float>()(0));
        const std::vector<Piece> pieces = PiecesOf(weights);
        ForPieces(ctx, pieces, [&](int64_t p) {
            const Piece piece = pieces[p];
            const int i = piece.tensor;
            const bool decay = decays->flat<int32_t>()(i) != 0;
            const uint32_t key = keys->flat<int32_t>()(i);
            T* w = static_cast<T*>(weights[i].data());
            M *m = static_cast<M*>(ms[i].data()), *v = static_cast<M*>(vs[i].data());
            const G* g = static_cast<const G*>(grads[i].data());
            if (K == 0) Update(rates, decay, key, piece.first, piece.last, w, w, m, v, g);
            else Update(rates, decay, key, piece.first, piece.last, w, static_cast<float*>(masters[i].data()), m, v, g);
        });
    }
};

template <class G>
class SquaredNorm : public OpKernel {
  public:
    using OpKernel::OpKernel;

    void Compute(OpKernelContext* ctx) override {
        OpInputList grads;
        OP_REQUIRES_OK(ctx, ctx->input_list("grads", &grads));
        const std::vector<float> shares = FloatsOf(ctx, "shares", grads.size());
        if (!ctx->status().ok()) return;
        const std::vector<Piece> pieces = PiecesOf(grads);
        std::vector<double> partial(pieces.size());
        ForPieces(ctx, pieces, [&](int64_t p) {
            const Piece piece = pieces[p];
            const G* g = static_cast<const G*>(grads[piece.tensor].data());
            double sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t i = piece.first; i < piece.last; i++) {
                const double wide = Widened(g[i]);
                sum += wide * wide;
            }
            partial[p] = shares[piece.tensor] * sum;
        });
        double sum = 0;
        for (const double one : partial) sum += one;
        Tensor* y = nullptr;
        OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({}), &y));
        y->scalar<float>()() = static_cast<float>(sum);
    }
};

REGISTER_OP("FourfoldAdamW")
    .Input("weights: N * T").Input("masters: K * float").Input("m: N * M").Input("v: N * M").Input("grads: N * G")
    .Input("squares: float").Input("numbers: int32").Input("decays: int32").Input("keys: int32")
    .Attr("N: int >= 1").Attr("K: int >= 0").Attr("T: {float, bfloat16}").Attr("M: {float, bfloat16}")
    .Attr("G: {float, bfloat16}")
    .SetIsStateful().SetShapeFn([](InferenceContext*) { return absl::OkStatus(); });
REGISTER_OP("FourfoldSquaredNorm")
    .Input("grads: N * G").Input("shares: int32").Output("squares: float")
    .Attr("N: int >= 1").Attr("G: {float, bfloat16}")
    .SetShapeFn([](InferenceContext* c) {
        c->set_output(0, c->Scalar());
        return absl::OkStatus();
    });

using Bfloat16 = tensorflow::bfloat16;
#define FOURFOLD_ADAMW(T, M, G) \
    Name("FourfoldAdamW").Device(DEVICE_CPU).TypeConstraint<T>("T").TypeConstraint<M>("M").TypeConstraint<G>("G")
REGISTER_KERNEL_BUILDER(FOURFOLD_ADAMW(float, float, float), AdamW<float, float, float>);
REGISTER_KERNEL_BUILDER(FOURFOLD_ADAMW(float, Bfloat16, float), AdamW<float, uint16_t, float>);
REGISTER_KERNEL_BUILDER(FOURFOLD_ADAMW(Bfloat16, float, float), AdamW<uint16_t, float, float>);
REGISTER_KERNEL_BUILDER(FOURFOLD_ADAMW(Bfloat16, Bfloat16, float), AdamW<uint16_t, uint16_t, float>);
REGISTER_KERNEL_BUILDER(FOURFOLD_ADAMW(Bfloat16, float, Bfloat16), AdamW<uint16_t, float, uint16_t>);
REGISTER_KERNEL_BUILDER(FOURFOLD_ADAMW(Bfloat16, Bfloat16, Bfloat16), AdamW<uint16_t, uint16_t, uint16_t>);
#undef FOURFOLD_ADAMW
#define FOURFOLD_SQUARED_NORM(G) Name("FourfoldSquaredNorm").Device(DEVICE_CPU).TypeConstraint<G>("G")
REGISTER_KERNEL_BUILDER(FOURFOLD_SQUARED_NORM(float), SquaredNorm<float>);
REGISTER_KERNEL_BUILDER(FOURFOLD_SQUARED_NORM(Bfloat16), SquaredNorm<uint16_t>);
#undef FOURFOLD_SQUARED_NORM

}  // namespace fourfold
