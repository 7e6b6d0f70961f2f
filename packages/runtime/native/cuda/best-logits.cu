/**
 * The k largest of each row of logits, largest first, of equal ones the lower id; and log Σ exp (../ops/best-logits.h).
 *
 * A word's value and id make one number of 64 bits, larger for a larger value and a lower id: no two are the same. The
 * k-th largest is found digit by digit, 8 bits at a time from the top: count how often each digit occurs among those
 * whose digits before are the k-th's, and go down from the largest until k are together (radix select; Alabi et al.,
 * "Fast k-selection algorithms for graphics processing units", 2012). Most rows need 3 or 4 of the 8 passes, over some
 * hundred kilobytes that stay in the second-level cache; sorting them all would move them 16 times.
 *
 * The k then find their places by counting who is before them: k² comparisons, made for k of some hundred.
 */
#include "types.cuh"

// Threads of a block, which has a row; and values of a digit.
constexpr int THREADS = 1024, DIGITS = 256;
constexpr float LEAST = -3.402823466e38f;  // what NaN counts as
using Key = unsigned long long;

// Float32 as whole numbers in the same order: positive ones get their top bit set, negative ones all bits turned.
__device__ inline Key key_of(float x, int id) {
    const unsigned bits = __float_as_uint(x == x ? x + 0.0f : LEAST);  // -0 is 0
    const unsigned ordered = bits >> 31 ? ~bits : bits | 0x80000000u;
    return static_cast<Key>(ordered) << 32 | 0xffffffffu - id;
}

// Adds up digits. The threads of a warp with the same one send the lowest of them: near logits share their top bits.
__device__ inline void count_digits(const float* row, int V, int shift, Key prefix, unsigned* counts) {
    for (int start = 0; start < V; start += THREADS) {
        const int v = start + threadIdx.x;
        const Key key = v < V ? key_of(row[v], v) : 0;
        const bool counted = v < V && (shift == 56 || key >> (shift + 8) == prefix);
        const unsigned digit = counted ? key >> shift & (DIGITS - 1) : DIGITS;
        const unsigned alike = __match_any_sync(0xffffffff, digit);
        if (counted && (alike & ((1u << threadIdx.x % 32) - 1)) == 0) atomicAdd(counts + digit, __popc(alike));
    }
}

// What the search ends with.
struct Selected {
    Key prefix;
    int shift;  // a key is among the k largest where key >> shift is prefix or more
};

// One pass a digit. It ends early where all that share the digits so far are wanted.
__device__ inline Selected select(const float* row, int V, int k) {
    __shared__ unsigned counts[DIGITS];
    __shared__ Key prefix;
    __shared__ unsigned wanted;
    __shared__ bool done;
    if (threadIdx.x == 0) prefix = 0, wanted = k, done = false;
    for (int shift = 56;; shift -= 8) {
        if (threadIdx.x < DIGITS) counts[threadIdx.x] = 0;
        __syncthreads();
        count_digits(row, V, shift, prefix, counts);
        __syncthreads();
        if (threadIdx.x == 0) {
            int digit = DIGITS - 1;
            for (; counts[digit] < wanted; digit--) wanted -= counts[digit];
            prefix = prefix << 8 | digit;
            done = counts[digit] == wanted;
        }
        __syncthreads();
        if (done || shift == 0) return {prefix, shift};
    }
}

// `chosen` [N, k]: room for the k in no order.
extern "C" __global__ void __launch_bounds__(THREADS)
    best_logits(const float* logits, int V, int k, int* chosen, int* ids, float* values) {
    __shared__ int found;
    const float* row = logits + blockIdx.x * static_cast<int64_t>(V);
    const int64_t at = blockIdx.x * static_cast<int64_t>(k);
    if (threadIdx.x == 0) found = 0;
    const Selected selected = select(row, V, k);
    for (int v = threadIdx.x; v < V; v += THREADS)
        if (key_of(row[v], v) >> selected.shift >= selected.prefix) chosen[at + atomicAdd(&found, 1)] = v;
    __syncthreads();
    for (int i = threadIdx.x; i < k; i += THREADS) {
        const int id = chosen[at + i];
        int place = 0;
        for (int j = 0; j < k; j++) {
            const int other = chosen[at + j];
            place += key_of(row[other], other) > key_of(row[id], id);
        }
        ids[at + place] = id;
        values[at + place] = row[id];
    }
}

// A thread adds up some hundred words at most, and 1024 threads' sums meet in pairs: no digits are lost.
extern "C" __global__ void __launch_bounds__(THREADS) log_sum_exp(const float* logits, int V, float* sums) {
    __shared__ float scratch[32];
    const float* row = logits + blockIdx.x * static_cast<int64_t>(V);
    float most = LEAST;
    for (int v = threadIdx.x; v < V; v += THREADS) most = fmaxf(most, row[v]);
    for (int step = 16; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, step));
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = most;
    __syncthreads();
    for (int warp = 0; warp < THREADS / 32; warp++) most = fmaxf(most, scratch[warp]);
    float sum = 0;
    for (int v = threadIdx.x; v < V; v += THREADS) sum += expf(row[v] - most);
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) sums[blockIdx.x] = most + logf(sum);
}
