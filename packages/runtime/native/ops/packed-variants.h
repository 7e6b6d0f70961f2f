/**
 * Which kernels this processor can run. It is asked when a matrix's kernel is chosen, at run time: one binary serves
 * every processor of its kind.
 */
#pragma once
#include "packed-avx2.h"
#include "packed-kernels.h"
#include "packed-vnni.h"

namespace fourfold {

enum class Variant { kBest, kPlain, kAvx2, kVnni };

/** Whether this processor has the instructions. */
inline bool Has(Variant variant) {
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    if (variant == Variant::kAvx2) return avx2;
    if (variant == Variant::kVnni)
        return avx2 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512vnni");
#endif
    return variant == Variant::kBest || variant == Variant::kPlain;
}

/** The kernels of one variant, which the processor must have; the best: the last that it has. */
template <Format F>
Kernels KernelsOf(Variant variant) {
#if defined(__x86_64__)
    const bool best = variant == Variant::kBest;
    if (variant == Variant::kVnni || (best && Has(Variant::kVnni))) return VnniKernels<F>();
    if (variant == Variant::kAvx2 || (best && Has(Variant::kAvx2))) return Avx2Kernels<F>();
#endif
    return PlainKernels<F>();
}

inline Kernels KernelsFor(Format format, Variant variant) {
    switch (format) {
        case Format::kF32: return KernelsOf<Format::kF32>(variant);
        case Format::kBf16: return KernelsOf<Format::kBf16>(variant);
        case Format::kQ40: return KernelsOf<Format::kQ40>(variant);
        case Format::kQ41: return KernelsOf<Format::kQ41>(variant);
        case Format::kQ80: break;
    }
    return KernelsOf<Format::kQ80>(variant);
}

}  // namespace fourfold
