/**
 * Flash attention backward, to be read. P is computed again from q, k and lse, and with D = Σ do · o of each query
 *
 *     dS = P · (do · vᵀ - D),   dq = scale · dS · k,   dk = scale · dSᵀ · q,   dv = Pᵀ · do
 *
 * dq is a sum over keys, dk and dv are sums over queries. One kernel with atomic additions could do all three, and give
 * other bits every time: here one kernel goes over the keys for each query, another over the queries for each key. That
 * is 7 products instead of 5, and nobody else writes to what a thread has in its registers.
 *
 * As in flash-attention.cu, PARTS threads share a query (or a key), and tiles of 32 of the others come by; a token of q
 * and dq has Q_ROW heads, one of k, v, dk and dv KV_ROW.
 */
#include "types.cuh"

// Threads of a query or key, and the dimensions of each; queries or keys of a block, and those that come by at a time.
constexpr int PARTS = K % 4 == 0 ? 4 : 2, MINE = K / PARTS;
constexpr int OWN = 64, TILE = 32;

// The sum over the threads that share a query or a key.
__device__ inline float part_sum(float x) {
    for (int step = PARTS / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffff, x, step);
    return x;
}

// This thread's part of a row of x; zeros where there is no such token.
__device__ inline void take(const T* x, int64_t row, bool there, float* mine) {
    for (int d = 0; d < MINE; d++) mine[d] = there ? wide(x[row * K + d * PARTS + threadIdx.x % PARTS]) : 0;
}

// The product of a row that these threads have with one in shared memory.
__device__ inline float dot(const float* mine, const float* row) {
    float sum = 0;
    for (int d = 0; d < MINE; d++) sum += mine[d] * row[d * PARTS + threadIdx.x % PARTS];
    return part_sum(sum);
}

// mine += factor · row.
__device__ inline void add(float* mine, float factor, const float* row) {
    for (int d = 0; d < MINE; d++) mine[d] += factor * row[d * PARTS + threadIdx.x % PARTS];
}

// Head `head` of tokens start to start + TILE, of x [B, tokens, `row`, K], into shared memory.
__device__ inline void fetch(const T* x, int row, int64_t batch, int64_t tokens, int head, int64_t start,
                             float (*tile)[K]) {
    for (int n = threadIdx.x; n < TILE * K; n += OWN * PARTS) {
        const int64_t t = start + n / K, from = ((batch * tokens + t) * row + head) * K + n % K;
        tile[n / K][n % K] = t < tokens ? wide(x[from]) : 0;
    }
}

// D [B, H, T]: one thread a query.
extern "C" __global__ void row_sums(const T* dO, const T* o, int64_t tokens, int64_t queries, float* D) {
    const int64_t n = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;  // [B, T, H]
    if (n >= queries) return;
    float sum = 0;
    for (int d = 0; d < K; d++) sum += wide(dO[n * K + d]) * wide(o[n * K + d]);
    D[(n / H / tokens * H + n % H) * tokens + n / H % tokens] = sum;
}

// dq: a query and its dO stay in registers while keys and values come by.
extern "C" __global__ void __launch_bounds__(OWN * PARTS)
    grad_of_queries(const T* dO, const T* q, const T* k, const T* v, const float* lse, const float* D, float scale,
                    int64_t tokens, int64_t keys, T* dq) {
    __shared__ float k_tile[TILE][K], v_tile[TILE][K];
    const int64_t b = blockIdx.z, h = blockIdx.y, first = static_cast<int64_t>(blockIdx.x) * OWN;
    const int64_t i = first + threadIdx.x / PARTS, place = (b * H + h) * tokens + i;
    const int64_t row = (b * tokens + i) * Q_ROW + h;
    const bool there = i < tokens;
    float q_[MINE], dO_[MINE], dq_[MINE] = {};
    take(q, row, there, q_);
    take(dO, (b * tokens + i) * H + h, there, dO_);
    const float lse_ = there ? lse[place] : 0, D_ = there ? D[place] : 0;
    const int64_t seen = CAUSAL ? min(keys, first + OWN) : keys;
    for (int64_t start = 0; start < seen; start += TILE) {
        __syncthreads();
        fetch(k, KV_ROW, b, keys, h / (H / G), start, k_tile);
        fetch(v, KV_ROW, b, keys, h / (H / G), start, v_tile);
        __syncthreads();
        for (int j = 0; j < TILE; j++) {
            const float s = scale * dot(q_, k_tile[j]), dP = dot(dO_, v_tile[j]);
            const bool visible = start + j < keys && (!CAUSAL || start + j <= i);
            add(dq_, visible ? scale * expf(s - lse_) * (dP - D_) : 0, k_tile[j]);
        }
    }
    if (there)
        for (int d = 0; d < MINE; d++) dq[row * K + d * PARTS + threadIdx.x % PARTS] = narrow<T>(dq_[d]);
}

// dk and dv: a key and its value stay, while the queries of all heads that share them come by.
extern "C" __global__ void __launch_bounds__(OWN * PARTS)
    grad_of_keys(const T* dO, const T* q, const T* k, const T* v, const float* lse, const float* D, float scale,
                 int64_t tokens, int64_t keys, T* dk, T* dv) {
    __shared__ float q_tile[TILE][K], dO_tile[TILE][K];
    const int64_t b = blockIdx.z, g = blockIdx.y, first = static_cast<int64_t>(blockIdx.x) * OWN;
    const int64_t j = first + threadIdx.x / PARTS, row = (b * keys + j) * KV_ROW + g;
    const bool there = j < keys;
    float k_[MINE], v_[MINE], dk_[MINE] = {}, dv_[MINE] = {};
    take(k, row, there, k_);
    take(v, row, there, v_);
    for (int64_t h = g * (H / G); h < (g + 1) * (H / G); h++)  // the heads that share these keys
        for (int64_t start = CAUSAL ? first / TILE * TILE : 0; start < tokens; start += TILE) {
            __syncthreads();
            fetch(q, Q_ROW, b, tokens, h, start, q_tile);
            fetch(dO, H, b, tokens, h, start, dO_tile);
            __syncthreads();
            for (int n = 0; n < TILE; n++) {
                const int64_t i = start + n, place = (b * H + h) * tokens + min(i, tokens - 1);
                const float s = scale * dot(k_, q_tile[n]), dP = dot(v_, dO_tile[n]);
                const bool visible = i < tokens && (!CAUSAL || j <= i);
                const float p = visible ? expf(s - lse[place]) : 0;
                add(dv_, p, dO_tile[n]);
                add(dk_, scale * p * (dP - D[place]), q_tile[n]);
            }
        }
    if (!there) return;
    for (int d = 0; d < MINE; d++) {
        dk[row * K + d * PARTS + threadIdx.x % PARTS] = narrow<T>(dk_[d]);
        dv[row * K + d * PARTS + threadIdx.x % PARTS] = narrow<T>(dv_[d]);
    }
}
