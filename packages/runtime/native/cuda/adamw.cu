/**
 * AdamW for all parameters in one launch, in place (the equations stand in packages/optim/src): reads and writes
 * weight, m and v once, and reads the gradient. At 1.7 billion parameters that is all that counts: with everything in
 * bfloat16 14 bytes a parameter, with float32 gradients 16, with float32 moments and masters too 30.
 *
 * The factor of clipping is computed here, from the squared length of all gradients: the host, which enqueues this long
 * before that length is known, never waits for it.
 *
 * Rounding is that of the CPU's kernel (native/ops/adamw.h), from the same random bits.
 */
#include "types.cuh"
#include "../ops/stochastic-rounding.h"

// What is the same for all parameters; `root` is 1 / √(1 - β₂ᵗ), and rate has 1 / (1 - β₁ᵗ) in it.
struct Rates {
    float rate, beta1, beta2, epsilon, root, limit;
    unsigned step;
};

// To the type of the last argument: float32 as it is, bfloat16 to the nearest or, by random bits, up or down.
__device__ inline float nearest(float x, float) { return x; }
__device__ inline bfloat16 nearest(float x, bfloat16) { return {fourfold::RoundToNearest(__float_as_uint(x))}; }
__device__ inline float stochastic(float x, unsigned, float) { return x; }
__device__ inline bfloat16 stochastic(float x, unsigned random, bfloat16) {
    return {fourfold::RoundStochastically(__float_as_uint(x), random)};
}

// One parameter, as optimizer.h has it. Blocks `first` and on are its. No masters: null.
struct Parameter {
    T* weights;
    float* masters;
    M *m, *v;
    const G* grad;
    int64_t count, first;
    float decay;
    unsigned key;
};

// As in optimizer.h, which counts the blocks.
constexpr int STRETCH = 8192;  // elements of a block

// MASTERS: whether the weights are rounded copies of `masters`.
__device__ inline void update(const Rates& r, float factor, const Parameter& p, int64_t at) {
    const auto g_ = load<WIDTH>(p.grad + at);
    auto w_ = load<WIDTH>(p.weights + at);
    auto m_ = load<WIDTH>(p.m + at), v_ = load<WIDTH>(p.v + at);
    Pack<float, WIDTH> master_ = {};
    if (MASTERS) master_ = load<WIDTH>(p.masters + at);
    for (int i = 0; i < WIDTH; i++) {
        const unsigned random = fourfold::RandomBits(p.key, r.step, static_cast<unsigned>(at + i));
        const float g = wide(g_[i]) * factor;
        const float m = r.beta1 * wide(m_[i]) + (1 - r.beta1) * g;
        const float v = r.beta2 * wide(v_[i]) + (1 - r.beta2) * g * g;
        const float before = MASTERS ? master_[i] : wide(w_[i]);
        const float after = before - p.decay * before - r.rate * m / (sqrtf(v) * r.root + r.epsilon);
        m_[i] = nearest(m, M{});
        v_[i] = stochastic(v, random >> 16, M{});
        w_[i] = MASTERS ? nearest(after, T{}) : stochastic(after, random, T{});
        master_[i] = after;
    }
    store(p.weights + at, w_);
    store(p.m + at, m_);
    store(p.v + at, v_);
    if (MASTERS) store(p.masters + at, master_);
}

// A block finds its parameter in the list, and takes a stretch of it; clipping's factor is computed by each thread.
extern "C" __global__ void adamw(Rates r, const Parameter* all, int parameters, const float* squares) {
    const Parameter mine = all[entry_of(all, parameters, blockIdx.x)];
    const int64_t start = (blockIdx.x - mine.first) * STRETCH, end = min(mine.count, start + STRETCH);
    const float length = sqrtf(*squares);
    const float factor = r.limit > 0 && length > r.limit ? r.limit / length : 1;
#pragma unroll 2
    for (int64_t at = start + threadIdx.x * WIDTH; at < end; at += blockDim.x * WIDTH) update(r, factor, mine, at);
}
