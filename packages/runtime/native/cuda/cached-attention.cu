/**
 * Attention of rows over the caches of their sequences (../ops/cached-attention.h has the equations and the layout):
 * first every row's keys and values go to the cache, then every query looks at what is there up to its position.
 *
 *   FORMAT    of the cache: float32, bfloat16 or Q80        K, H, G     numbers of a head, heads of q, heads of k
 *   NORMED    q and k of each head are normalized (Qwen3)   CAPPED      scores become cap · tanh(s / cap)
 *
 * A warp has a head's K numbers, thread `lane` numbers lane, lane + 32, ... A query has WARPS warps, which share the
 * keys, KEYS at a time, so that several are on their way from memory; each keeps the sum of weights and the weighted
 * sum of values for its largest score (Milakov and Gimelshein 2018), and the first puts them together. Which warp sees
 * a key is decided by positions alone: a row's bits don't depend on other rows.
 */
#include "packed.cuh"

// Sizes of a row, and how the work is shared out.
constexpr int EACH = (K + 31) / 32;                              // numbers of a thread
constexpr int ROW_BYTES = K * block_bytes(FORMAT) / BLOCK;  // of a key
constexpr int WARPS = 8, KEYS = 4;

// Where the cache's parts are: ../shapes/cache-shape.h.
struct Cache {
    byte* bytes;
    int positions;

    __device__ byte* of(int64_t slot, int head, int64_t position) const {
        return bytes + ((slot * 2 * G + head) * positions + position) * ROW_BYTES;
    }
};

// Number `i` of a key or value.
__device__ inline float read(const byte* row, int i) {
    if (FORMAT == F32) return reinterpret_cast<const float*>(row)[i];
    if (FORMAT == BF16) return wide(reinterpret_cast<const bfloat16*>(row)[i]);
    const byte* block = row + i / BLOCK * block_bytes(Q80);
    return half_to_float(*reinterpret_cast<const unsigned short*>(block)) *
           static_cast<signed char>(block[2 + i % BLOCK]);
}

// 32 numbers of a row from `i` on, one of each thread; Q80 as ggml rounds: of two equally near ones away from 0.
__device__ inline void write(byte* row, int i, float x) {
    if (FORMAT == Q80) {
        const float d = warp_max(fabsf(x)) / 127;
        byte* block = row + i / BLOCK * block_bytes(Q80);
        if (i % BLOCK == 0) *reinterpret_cast<unsigned short*>(block) = float_to_half(d);
        block[2 + i % BLOCK] = static_cast<signed char>(static_cast<int>(roundf(x * inverse(d))));
    } else if (i < K) {
        if (FORMAT == F32) reinterpret_cast<float*>(row)[i] = x;
        else reinterpret_cast<bfloat16*>(row)[i] = narrow<bfloat16>(x);
    }
}

// ## In

// A head of q or k: normalized, and turned to its position (packages/ops/src/rope.ts).
struct Head {
    const float *x, *gain, *cos, *sin;  // the last two of the position
    float r;

    __device__ float at(int i) const { return NORMED ? x[i] * r * gain[i] : x[i]; }
    __device__ float turned(int i) const { return at(i) * cos[i] + at((i + K / 2) % K) * sin[i]; }
};

// 1 / sqrt(mean(x²) + ε) of a head.
__device__ inline float scale_of(const float* x, float epsilon, int lane) {
    float squares = 0;
    for (int i = lane; i < K; i += 32) squares = fmaf(x[i], x[i], squares);
    return 1 / sqrtf(warp_sum(squares) / K + epsilon);
}

// Row n, WARPS of its heads: q [N, H, K] gets its queries times the scale, the cache its keys and values.
extern "C" __global__ void enter(const float* qkv, const int* rows, const float* cos, const float* sin,
                                 const float* q_gain, const float* k_gain, float epsilon, float scale, byte* bytes,
                                 int positions, float* q) {
    const int64_t n = blockIdx.x, slot = rows[2 * n], position = rows[2 * n + 1];
    const int head = blockIdx.y * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (head >= H + 2 * G) return;
    const float* x = qkv + (n * (H + 2 * G) + head) * K;
    const Cache cache{bytes, positions};
    const float r = NORMED && head < H + G ? scale_of(x, epsilon, lane) : 1;
    const Head turn{x, head < H ? q_gain : k_gain, cos + position * K, sin + position * K, r};
    for (int e = 0; e < EACH; e++) {
        const int i = 32 * e + lane;
        const float value = i >= K ? 0 : head < H + G ? turn.turned(i) : x[i];
        if (head >= H) write(cache.of(slot, head - H, position), i, value);
        else if (i < K) q[(n * H + head) * K + i] = value * scale;
    }
}

// ## Looking

// What was seen up to now: o holds Σ exp(s - most) · v, of this thread's numbers.
struct Seen {
    float most, sum, o[EACH];
};

// q · k, which a warp adds up; q has the scale in it.
__device__ inline float score_of(const float (&q)[EACH], const byte* key, int lane, float cap) {
    float part = 0;
    for (int e = 0; e < EACH; e++)
        if (32 * e + lane < K) part = fmaf(q[e], read(key, 32 * e + lane), part);
    const float s = warp_sum(part);
    return CAPPED ? cap * tanhf(s / cap) : s;
}

// KEYS keys and their values, of which the first `count` are there.
__device__ inline void see(Seen& seen, const float (&q)[EACH], const byte* key, const byte* value, int count, int lane,
                           float cap) {
    float s[KEYS], v[KEYS][EACH];
    for (int j = 0; j < KEYS; j++) {
        const int64_t at = min(j, count - 1) * ROW_BYTES;
        s[j] = score_of(q, key + at, lane, cap);
        for (int e = 0; e < EACH; e++) v[j][e] = 32 * e + lane < K ? read(value + at, 32 * e + lane) : 0;
    }
    float most = seen.most;
    for (int j = 0; j < KEYS; j++)
        if (j < count) most = fmaxf(most, s[j]);
    const float factor = expf(seen.most - most);
    seen.sum *= factor;
    for (int e = 0; e < EACH; e++) seen.o[e] *= factor;
    for (int j = 0; j < KEYS; j++) {
        const float p = j < count ? expf(s[j] - most) : 0;
        seen.sum += p;
        for (int e = 0; e < EACH; e++) seen.o[e] = fmaf(p, v[j][e], seen.o[e]);
    }
    seen.most = most;
}

// Row n and head h: o [N, H, K].
extern "C" __global__ void __launch_bounds__(32 * WARPS)
    look(const float* queries, const int* rows, byte* bytes, int positions, int offset, int group, int window,
         float cap, float* o) {
    __shared__ float most[WARPS], sums[WARPS], parts[WARPS][K];
    const int64_t n = blockIdx.x, h = blockIdx.y, slot = rows[2 * n];
    const int last = rows[2 * n + 1], first = window > 0 ? max(0, last + 1 - window) : 0;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = (h + offset) / group;
    const Cache cache{bytes, positions};
    float q[EACH];
    for (int e = 0; e < EACH; e++) q[e] = 32 * e + lane < K ? queries[(n * H + h) * K + 32 * e + lane] : 0;
    Seen seen = {-3.402823466e38f, 0, {}};
    for (int j = first + KEYS * warp; j <= last; j += KEYS * WARPS)
        see(seen, q, cache.of(slot, g, j), cache.of(slot, G + g, j), min(KEYS, last + 1 - j), lane, cap);
    for (int e = 0; e < EACH; e++)
        if (32 * e + lane < K) parts[warp][32 * e + lane] = seen.o[e];
    if (lane == 0) most[warp] = seen.most, sums[warp] = seen.sum;
    __syncthreads();
    float largest = most[0], sum = 0;
    for (int w = 1; w < WARPS; w++) largest = fmaxf(largest, most[w]);
    for (int w = 0; w < WARPS; w++) sum += sums[w] * expf(most[w] - largest);
    for (int i = threadIdx.x; i < K; i += 32 * WARPS) {
        float total = 0;
        for (int w = 0; w < WARPS; w++) total += parts[w][i] * expf(most[w] - largest);
        o[(n * H + h) * K + i] = total / sum;
    }
}
