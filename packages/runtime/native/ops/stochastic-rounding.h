/**
 * float32 to bfloat16, to nearest or stochastically; compiled for the CPU, and by NVIDIA's run-time compiler for GPUs,
 * so that both round alike.
 *
 * bfloat16 is a float32's upper half. Rounding to nearest loses every step smaller than half the distance to the next
 * number, 1/512 of the weight. Stochastic rounding goes up with the probability of the part that is cut off: add a
 * random number below 2^16 to the lower half, then cut. The mean is the number itself, and small steps add up.
 *
 * The random bits are a hash of where they are used: no state, so threads, restarts and devices agree on them.
 */
#pragma once

#ifdef __CUDACC__
#define FOURFOLD_INLINE __host__ __device__ inline
#else
#define FOURFOLD_INLINE inline
#endif

namespace fourfold {

/** Every bit of x moves half of the result's bits (Wellons, "Prospecting for hash functions", 2018: lowbias32). */
FOURFOLD_INLINE unsigned int Mix(unsigned int x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

/** 32 random bits for one element of a parameter in one step. `key` is the parameter's, made from its name and a seed. */
FOURFOLD_INLINE unsigned int RandomBits(unsigned int key, unsigned int step, unsigned int element) {
    return Mix(Mix(key ^ Mix(step)) ^ element);
}

/** `bits` are a float32's; a NaN stays a NaN, whatever its lower half. */
FOURFOLD_INLINE unsigned short Upper(unsigned int bits, unsigned int added) {
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return (unsigned short)((nan ? bits | 0x400000u : bits + added) >> 16);
}

/** To nearest, halves to even. */
FOURFOLD_INLINE unsigned short RoundToNearest(unsigned int bits) {
    return Upper(bits, 0x7fffu + ((bits >> 16) & 1u));
}

/** Up or down, by the lower 16 of the random bits. */
FOURFOLD_INLINE unsigned short RoundStochastically(unsigned int bits, unsigned int random) {
    return Upper(bits, random & 0xffffu);
}

}  // namespace fourfold
