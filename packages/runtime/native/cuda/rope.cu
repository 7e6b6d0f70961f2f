/**
 * RoPE (the equations stand in packages/ops/src/rope.ts) on the heads of q and k, which stand first in each token:
 *
 *     x [N, J, K]: the first TURNED of the J heads turn; the first HEADS are written, the rest of them as copies (v's)
 *
 * Where y is x's own memory, HEADS is TURNED: v stays where it is, and nobody reads it.
 *
 * A block takes a token. Dimension i turns with dimension i + K/2: a thread takes WIDTH neighbours of the first half,
 * and the same of the second, of every (blockDim.x / PIECES)-th head; so the angles, row n mod `tokens` of the tables
 * [tokens, K], are read once. Turning back, which is backward, is turning by -sin: `sign` is -1.
 *
 * The version before it numbered pieces over all tokens: a thread spent its time on divisions of 64-bit numbers.
 */
#include "types.cuh"

// What turns together is half a head apart.
constexpr int HALF = K / 2, PIECES = HALF / WIDTH;  // a head is that many threads' work

// a' = a · cos - b · sin, b' = b · cos + a · sin.
extern "C" __global__ void rope(const T* x, const float* cos, const float* sin, float sign, int tokens, T* y) {
    const int64_t n = blockIdx.x;
    const int i = threadIdx.x % PIECES * WIDTH, t = blockIdx.x % tokens;
    const auto c = load<WIDTH>(cos + t * K + i), s = load<WIDTH>(sin + t * K + HALF + i);
    for (int h = threadIdx.x / PIECES; h < HEADS; h += blockDim.x / PIECES) {
        const int64_t at = (n * J + h) * K + i;
        auto a = load<WIDTH>(x + at), b = load<WIDTH>(x + at + HALF);
        for (int j = 0; h < TURNED && j < WIDTH; j++) {
            const float a_ = wide(a[j]), b_ = wide(b[j]);
            a[j] = narrow<T>(a_ * c[j] - b_ * sign * s[j]);
            b[j] = narrow<T>(b_ * c[j] + a_ * sign * s[j]);
        }
        store(y + at, a);
        store(y + at + HALF, b);
    }
}
