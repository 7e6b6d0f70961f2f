/**
 * The attention that a block of keys gives some queries, merged into what the blocks before gave them (the equations
 * stand at the head of packages/context-parallel/src/context-parallel.ts):
 *
 *     w = sigmoid(part_lse - lse)     o <- o + w · (part - o)     lse <- lse + softplus(part_lse - lse)
 *
 * The queries are `start` and on of o [B, tokens, H, K] and lse [B, H, tokens], both float32; the others' memory is not
 * touched. part is read once, o read once and written once.
 *
 * A block of threads has a token. Each head's w is computed by one thread, and read by those of its K numbers.
 *
 * The version before it were a dozen stock kernels: five reads and three writes of o's size, in float32, and more where
 * a part was padded with zeros to all tokens.
 */
#include "types.cuh"

// Block n: token `start` + n mod Q of sequence n / Q.
extern "C" __global__ void merge_attention(float* o, float* lse, const T* part, const float* part_lse, int64_t tokens,
                                           int64_t queries, int64_t start) {
    __shared__ float weights[H];
    const int64_t b = blockIdx.x / queries, query = blockIdx.x % queries, token = start + query;
    for (int h = threadIdx.x; h < H; h += blockDim.x) {
        const int64_t at = (b * H + h) * tokens + token;
        const float difference = part_lse[(b * H + h) * queries + query] - lse[at];
        weights[h] = 1 / (1 + expf(-difference));
        lse[at] += fmaxf(difference, 0) + log1pf(expf(-fabsf(difference)));
    }
    __syncthreads();
    const T* from = part + static_cast<int64_t>(blockIdx.x) * H * K;
    float* to = o + (b * tokens + token) * H * K;
    for (int d = threadIdx.x * WIDTH; d < H * K; d += blockDim.x * WIDTH) {
        auto o_ = load<WIDTH>(to + d);
        const auto part_ = load<WIDTH>(from + d);
        for (int i = 0; i < WIDTH; i++) o_[i] += weights[d / K] * (wide(part_[i]) - o_[i]);
        store(to + d, o_);
    }
}
