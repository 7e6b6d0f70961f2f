/** Which kernels this processor can run, chosen when they are first asked for: never by how the code was compiled. */
#pragma once
#include "packed-kernels.h"

namespace fourfold {

enum class Variant { kBest, kPlain, kAvx2, kVnni };

/** Whether this processor has the instructions. */
inline bool Has(Variant variant) { return variant == Variant::kBest || variant == Variant::kPlain; }

template <Format F>
Kernels KernelsOf(Variant) {
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
