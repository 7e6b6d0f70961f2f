/**
 * SwiGLU (the equations stand in packages/ops/src/swiglu.ts): y = gate · sigmoid(gate) · up.
 *
 *     x [N, 2F]: row n has the F numbers of gate, then the F of up        y [N, F]
 *
 * Element by element: a thread takes WIDTH neighbours of y. Forward reads x and writes y, 3 F numbers a row; backward
 * reads dy and x and writes dx, 5 F. The sigmoid is computed again in backward: that is cheaper than reading it.
 */
#include "types.cuh"

// From 0 to 1.
__device__ inline float sigmoid(float x) { return 1 / (1 + expf(-x)); }

// Where this thread's neighbours are in y and in x; false after the end.
__device__ inline bool place(int64_t N, int64_t* in_y, int64_t* in_x) {
    const int64_t at = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * WIDTH;
    *in_y = at;
    *in_x = at / F * (2 * F) + at % F;
    return at < N * F;
}

// Forward.
extern "C" __global__ void swiglu(const T* x, int64_t N, T* y) {
    int64_t in_y, in_x;
    if (!place(N, &in_y, &in_x)) return;
    const auto gate = load<WIDTH>(x + in_x), up = load<WIDTH>(x + in_x + F);
    Pack<T, WIDTH> y_;
    for (int i = 0; i < WIDTH; i++) y_[i] = narrow<T>(wide(gate[i]) * sigmoid(wide(gate[i])) * wide(up[i]));
    store(y + in_y, y_);
}

// Backward, of gate and up at once.
extern "C" __global__ void swiglu_grad(const T* dy, const T* x, int64_t N, T* dx) {
    int64_t in_y, in_x;
    if (!place(N, &in_y, &in_x)) return;
    const auto dy_ = load<WIDTH>(dy + in_y), gate = load<WIDTH>(x + in_x), up = load<WIDTH>(x + in_x + F);
    Pack<T, WIDTH> dgate, dup;
    for (int i = 0; i < WIDTH; i++) {
        const float g = wide(gate[i]), s = sigmoid(g), d = wide(dy_[i]);
        dup[i] = narrow<T>(d * g * s);
        dgate[i] = narrow<T>(d * wide(up[i]) * (s + g * s * (1 - s)));
    }
    store(dx + in_x, dgate);
    store(dx + in_x + F, dup);
}
