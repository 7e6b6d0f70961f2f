/**
 * Rows of x as a product takes them (../ops/packed-rows.h has the equations): normalized or gated, padded with zeros to
 * whole blocks of 32, and, for integer products, rounded to Q80.
 *
 *   KIND 0 x as it is, 1 RMSNorm, 2 SwiGLU, 3 GeGLU      ROUNDED: q [N, blocks · 32] and d [N, blocks], else y
 *
 * A block of threads takes a row and a warp 32 numbers of it, which have one scale. How many threads there are follows
 * from the row's length alone: so do the bits of its numbers, whatever other rows there are. All this is read and
 * written once, kilobytes beside the megabytes of weights that come after.
 */
#include "packed.cuh"

// silu(gate) · up, or GELU's (by tanh) in its place.
__device__ inline float gated(const float* x, int i, int I) {
    const float gate = x[i], u = KIND == 2 ? gate : 1.5957691216f * (gate + 0.044715f * gate * gate * gate);
    return gate / (1 + expf(-u)) * x[I + i];
}

// What the sum of squares gives for the whole row: 1 / sqrt(mean(x²) + ε).
__device__ inline float scale_of(const float* x, int I, float epsilon) {
    __shared__ float scratch[32];
    float squares = 0;
    for (int i = threadIdx.x; i < I; i += blockDim.x) squares = fmaf(x[i], x[i], squares);
    return 1 / sqrtf(block_sum(squares, scratch) / I + epsilon);
}

// A number for each thread of a warp: q, the nearest of -127 .. 127 times their scale d, of two the even one. Where
// one is infinite or NaN, d is NaN: the result shall show it.
__device__ inline void round_block(float x, signed char* q, float* d) {
    const float scale = warp_max(fabsf(x)) / 127 + warp_sum(x * 0);
    *q = static_cast<signed char>(__float2int_rn(x * inverse(scale)));
    if (threadIdx.x % 32 == 0) *d = scale;
}

// Block n: row n.
extern "C" __global__ void prepare_rows(const float* x, const float* gain, float epsilon, int I, float* y,
                                        signed char* q, float* d) {
    const int64_t n = blockIdx.x;
    const int blocks = (I + BLOCK - 1) / BLOCK;
    const float* row = x + n * I * (KIND >= 2 ? 2 : 1);
    const float scale = KIND == 1 ? scale_of(row, I, epsilon) : 1;
    for (int i = threadIdx.x; i < blocks * BLOCK; i += blockDim.x) {
        float value = 0;
        if (i < I) value = KIND >= 2 ? gated(row, i, I) : KIND == 1 ? row[i] * scale * gain[i] : row[i];
        const int64_t at = n * blocks * BLOCK + i;
        if (ROUNDED) round_block(value, q + at, d + at / BLOCK);
        else y[at] = value;
    }
}
