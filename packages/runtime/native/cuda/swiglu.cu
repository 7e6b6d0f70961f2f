/**
 * SwiGLU (the equations stand in packages/ops/src/swiglu.ts): y = gate · sigmoid(gate) · up.
 *
 * Element by element: a thread takes WIDTH neighbours. Forward reads two tensors and writes one, backward reads three
 * and writes two. The sigmoid is computed again in backward: that is cheaper than reading it.
 */
#include "types.cuh"

__device__ inline float sigmoid(float x) { return 1 / (1 + expf(-x)); }

extern "C" __global__ void swiglu(const T* gate, const T* up, int64_t count, T* y) {
    const int64_t at = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * WIDTH;
    if (at >= count) return;
    const auto gate_ = load<WIDTH>(gate + at), up_ = load<WIDTH>(up + at);
    Pack<T, WIDTH> y_;
    for (int i = 0; i < WIDTH; i++) y_[i] = narrow<T>(wide(gate_[i]) * sigmoid(wide(gate_[i])) * wide(up_[i]));
    store(y + at, y_);
}

extern "C" __global__ void swiglu_grad(const T* dy, const T* gate, const T* up, int64_t count, T* dgate, T* dup) {
    const int64_t at = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * WIDTH;
    if (at >= count) return;
    const auto dy_ = load<WIDTH>(dy + at), gate_ = load<WIDTH>(gate + at), up_ = load<WIDTH>(up + at);
    Pack<T, WIDTH> dgate_, dup_;
    for (int i = 0; i < WIDTH; i++) {
        const float g = wide(gate_[i]), s = sigmoid(g), d = wide(dy_[i]);
        dup_[i] = narrow<T>(d * g * s);
        dgate_[i] = narrow<T>(d * wide(up_[i]) * (s + g * s * (1 - s)));
    }
    store(dgate + at, dgate_);
    store(dup + at, dup_);
}
