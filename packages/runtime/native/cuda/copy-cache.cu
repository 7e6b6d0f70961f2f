/**
 * The first positions of one slot of a cache to another slot, head by head (../ops/cached-attention.h has the layout):
 * what a prompt that begins like another one need not compute. Each thread moves UNIT bytes at a time, as many as rows
 * are multiples of. Memory's speed is all there is to it.
 */
#include "types.cuh"

// Block (t, head): `units` of a head of `stride`.
extern "C" __global__ void copy_cache(const char* from, char* to, int64_t units, int64_t stride) {
    const int64_t base = blockIdx.y * stride;
    for (int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x; i < units;
         i += static_cast<int64_t>(gridDim.x) * blockDim.x)
        store(to + (base + i) * UNIT, load<UNIT>(from + (base + i) * UNIT));
}
