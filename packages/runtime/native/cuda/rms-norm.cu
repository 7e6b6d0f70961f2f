/**
 * RMSNorm forward (the equations stand in packages/ops/src/rms-norm.ts): y = x · r · w, r = 1 / sqrt(mean(x²) + ε).
 *
 * A warp takes a row, and its threads keep it in registers from the sum of squares to the result: memory sees one read
 * of x and one write of y, 2 · N · D elements, which is all the time there is to gain. All of a thread's reads are on
 * their way before the first is used.
 *
 * The version before it was TensorFlow's own: six kernels, each of which read and wrote the whole of x in float32.
 */
#include "types.cuh"

// A block is 8 warps; a warp has a row, a thread every 32nd pack of it.
constexpr int WARPS = 8;                                    // rows of a block
constexpr int EACH = (D + 32 * WIDTH - 1) / (32 * WIDTH);  // packs of a thread

// The row is read into registers, its squares are added up over the warp, and it is written scaled.
extern "C" __global__ void rms_norm(const T* x, const T* w, float epsilon, int64_t N, T* y, float* r) {
    const int64_t n = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    if (n >= N) return;
    Pack<T, WIDTH> row[EACH] = {};
    for (int e = 0; e < EACH; e++) {
        const int d = (32 * e + lane) * WIDTH;
        if (d < D) row[e] = load<WIDTH>(x + n * D + d);
    }
    float squares = 0;
    for (int e = 0; e < EACH; e++)
        for (int i = 0; i < WIDTH; i++) squares += wide(row[e][i]) * wide(row[e][i]);
    const float scale = rsqrtf(warp_sum(squares) / D + epsilon);
    for (int e = 0; e < EACH; e++) {
        const int d = (32 * e + lane) * WIDTH;
        if (d >= D) continue;
        const auto w_ = load<WIDTH>(w + d);
        for (int i = 0; i < WIDTH; i++) row[e][i] = narrow<T>(wide(row[e][i]) * scale * wide(w_[i]));
        store(y + n * D + d, row[e]);
    }
    if (lane == 0) r[n] = scale;
}
