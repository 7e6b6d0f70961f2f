/**
 * Flash attention forward, to be read (cuDNN's is faster: it has the tensor cores do the products).
 *
 *     S = scale · q · kᵀ,  P = softmax(S),  o = P · v,  lse = log Σ exp(S)
 *
 * The scores of a query and all keys never exist at once. Keys and values come by in tiles of 32, which all 64 queries
 * of a block read from shared memory. A query keeps the largest score so far, the sum of exp(score - largest), and the
 * sum of the values so weighted; a larger score brings both sums down by exp(old largest - new): the "online" softmax.
 *
 * PARTS threads share a query: each has every PARTS-th of its K dimensions in registers, and a score is the sum of
 * their products. o is [B, T, H, K] and lse [B, H, T]; a token of q has Q_ROW heads, of which H are meant, one of k and
 * v KV_ROW, of which G. Query i sees keys 0 to i where CAUSAL.
 *
 * Dao et al., "FlashAttention" (2022), and "FlashAttention-2" (2023). The version before it wrote the scores, T · S for
 * each head, to memory and read them three times.
 */
#include "types.cuh"

// How a block's work is shared out.
constexpr int PARTS = K % 4 == 0 ? 4 : 2, MINE = K / PARTS;  // threads of a query, and dimensions of a thread
constexpr int QUERIES = 64, KEYS = 32;                       // of a block, and of a tile

// The sum over the threads of a query.
__device__ inline float part_sum(float x) {
    for (int step = PARTS / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffff, x, step);
    return x;
}

// Block (x, h, b): 64 queries of head h of sequence b.
extern "C" __global__ void __launch_bounds__(QUERIES * PARTS)
    flash_attention(const T* q, const T* k, const T* v, float scale, int64_t tokens, int64_t keys, T* o, float* lse) {
    __shared__ float k_tile[KEYS][K], v_tile[KEYS][K];
    const int part = threadIdx.x % PARTS;
    const int64_t b = blockIdx.z, h = blockIdx.y, g = h / (H / G);
    const int64_t first = static_cast<int64_t>(blockIdx.x) * QUERIES, i = first + threadIdx.x / PARTS;
    const int64_t from = ((b * tokens + i) * Q_ROW + h) * K, to = ((b * tokens + i) * H + h) * K;
    float q_[MINE], o_[MINE] = {}, most = -INFINITY, sum = 0;
    for (int d = 0; d < MINE; d++) q_[d] = i < tokens ? scale * wide(q[from + d * PARTS + part]) : 0;
    const int64_t seen = CAUSAL ? min(keys, first + QUERIES) : keys;  // by some query of the block
    for (int64_t start = 0; start < seen; start += KEYS) {
        __syncthreads();
        for (int n = threadIdx.x; n < KEYS * K; n += QUERIES * PARTS) {
            const int64_t j = start + n / K, from = ((b * keys + j) * KV_ROW + g) * K + n % K;
            k_tile[n / K][n % K] = j < keys ? wide(k[from]) : 0;
            v_tile[n / K][n % K] = j < keys ? wide(v[from]) : 0;
        }
        __syncthreads();
        float s[KEYS], before = most;
#pragma unroll
        for (int j = 0; j < KEYS; j++) {
            s[j] = 0;
            for (int d = 0; d < MINE; d++) s[j] += q_[d] * k_tile[j][d * PARTS + part];
            s[j] = part_sum(s[j]);
            if (start + j >= keys || (CAUSAL && start + j > i)) s[j] = -INFINITY;
            most = fmaxf(most, s[j]);
        }
        if (most == -INFINITY) continue;  // this query has seen no key yet
        const float factor = expf(before - most);
        sum *= factor;
        for (int d = 0; d < MINE; d++) o_[d] *= factor;
#pragma unroll
        for (int j = 0; j < KEYS; j++) {
            const float p = expf(s[j] - most);
            sum += p;
            for (int d = 0; d < MINE; d++) o_[d] += p * v_tile[j][d * PARTS + part];
        }
    }
    if (i >= tokens) return;
    for (int d = 0; d < MINE; d++) o[to + d * PARTS + part] = narrow<T>(o_[d] / sum);
    if (part == 0) lse[(b * H + h) * tokens + i] = most + logf(sum);
}
