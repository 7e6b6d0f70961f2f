/**
 * What all kernels share: bfloat16, several elements at a time, and sums over threads.
 *
 * A kernel is compiled for one element type T (float or bfloat16) and computes in float32 whatever T is.
 */
#pragma once

using int64_t = long long;  // the compiler knows no standard headers
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)

// A float whose lower 16 bits are cut off: 8 bits of precision, the range of float32.
struct bfloat16 {
    unsigned short bits;
};

// Either type as float32; a bfloat16 is its upper half.
__device__ inline float wide(float x) { return x; }
__device__ inline float wide(bfloat16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

// Rounds to the nearest T, ties to even.
template <class T>
__device__ T narrow(float x);
template <>
__device__ inline float narrow<float>(float x) { return x; }
template <>
__device__ inline bfloat16 narrow<bfloat16>(float x) {
    bfloat16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}

// `width` neighbours, read or written by one instruction. 16 bytes a thread is what memory serves fastest: 4 floats or
// 8 bfloat16; the host takes less where a row's length asks for it.
template <class T, int width>
struct alignas(width * sizeof(T)) Pack {
    T at[width];

    __device__ T& operator[](int i) { return at[i]; }
    __device__ const T& operator[](int i) const { return at[i]; }
};

template <int width, class T>
__device__ Pack<T, width> load(const T* from) { return *reinterpret_cast<const Pack<T, width>*>(from); }

template <int width, class T>
__device__ void store(T* to, const Pack<T, width>& pack) { *reinterpret_cast<Pack<T, width>*>(to) = pack; }

// The sum over the 32 threads of a warp, in every one of them: pairs, pairs of pairs, ... always in the same order.
__device__ inline float warp_sum(float x) {
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffff, x, step);
    return x;
}

// The sum over a block of at most 1024 threads, in every one of them. `scratch`: 32 floats of shared memory.
__device__ inline float block_sum(float x, float* scratch) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = (blockDim.x + 31) / 32;
    x = warp_sum(x);
    __syncthreads();  // whoever still reads the last sum's scratch
    if (lane == 0) scratch[warp] = x;
    __syncthreads();
    return warp_sum(lane < warps ? scratch[lane] : 0.0f);
}

// Which entry of a list is this block's, where entry i has the blocks from its `first` to the next one's.
template <class Entry>
__device__ int entry_of(const Entry* entries, int count, int64_t block) {
    int low = 0, high = count;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (entries[middle].first <= block) low = middle;
        else high = middle;
    }
    return low;
}
