/**
 * RoPE on q and k at once (the equations stand in packages/ops/src/rope.ts).
 *
 *     q [N, H, K] and k [N, G, K] in one launch: head h < H is of q, the others are of k
 *
 * Dimension i turns with dimension i + K/2. A thread takes WIDTH neighbours of the first half, and the same of the
 * second. Token n stands at row n mod `tokens` of the tables [tokens, K], which are small enough to stay in the L2
 * cache. Turning back, which is backward, is turning by -sin: `sign` is -1.
 */
#include "types.cuh"

constexpr int HALF = K / 2, PIECES = HALF / WIDTH;  // a head is that many threads' work

extern "C" __global__ void rope(const T* q, const T* k, const float* cos, const float* sin, float sign, int64_t N,
                                int64_t tokens, T* q_turned, T* k_turned) {
    const int64_t piece = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    const int64_t head = piece / PIECES, n = head / (H + G);
    if (n >= N) return;
    const int h = head % (H + G), i = piece % PIECES * WIDTH;
    const int64_t at = h < H ? (n * H + h) * K + i : (n * G + h - H) * K + i;
    const T* x = h < H ? q : k;
    T* y = h < H ? q_turned : k_turned;
    auto a = load<WIDTH>(x + at), b = load<WIDTH>(x + at + HALF);
    const auto c = load<WIDTH>(cos + n % tokens * K + i), s = load<WIDTH>(sin + n % tokens * K + HALF + i);
    for (int j = 0; j < WIDTH; j++) {
        const float a_ = wide(a[j]), b_ = wide(b[j]);
        a[j] = narrow<T>(a_ * c[j] - b_ * sign * s[j]);
        b[j] = narrow<T>(b_ * c[j] + a_ * sign * s[j]);
    }
    store(y + at, a);
    store(y + at + HALF, b);
}
