/**
 * RoPE (the equations stand in packages/ops/src/rope.ts) on the heads of q and k, which stand first in each token:
 *
 *     x [N, J, K]: the first TURNED of the J heads turn, the others (v's) are copied
 *
 * Dimension i turns with dimension i + K/2. A thread takes WIDTH neighbours of the first half, and the same of the
 * second. Token n stands at row n mod `tokens` of the tables [tokens, K], which are small enough to stay in the L2
 * cache. Turning back, which is backward, is turning by -sin: `sign` is -1.
 *
 * The version before it took q and k as tensors of their own: no copy of v, but three products where there is one now.
 */
#include "types.cuh"

constexpr int HALF = K / 2, PIECES = HALF / WIDTH;  // a head is that many threads' work

extern "C" __global__ void rope(const T* x, const float* cos, const float* sin, float sign, int64_t N, int64_t tokens,
                                T* y) {
    const int64_t piece = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    const int64_t head = piece / PIECES, n = head / J;
    if (n >= N) return;
    const int i = piece % PIECES * WIDTH;
    const int64_t at = head * K + i;
    auto a = load<WIDTH>(x + at), b = load<WIDTH>(x + at + HALF);
    if (head % J < TURNED) {
        const auto c = load<WIDTH>(cos + n % tokens * K + i), s = load<WIDTH>(sin + n % tokens * K + HALF + i);
        for (int j = 0; j < WIDTH; j++) {
            const float a_ = wide(a[j]), b_ = wide(b[j]);
            a[j] = narrow<T>(a_ * c[j] - b_ * sign * s[j]);
            b[j] = narrow<T>(b_ * c[j] + a_ * sign * s[j]);
        }
    }
    store(y + at, a);
    store(y + at + HALF, b);
}
