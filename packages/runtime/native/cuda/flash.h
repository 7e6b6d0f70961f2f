/** Attention's tensors, and attention by our own kernels: flash-attention.cu and flash-attention-grad.cu. */
#pragma once
#include "op.h"

namespace fourfold::cuda {

/** `count` heads of a tensor [B, tokens, row, K], which has `row` of them: those from `first` on. */
struct Heads {
    int64_t B, tokens, row, K, first, count, size;  // size: of an element, in bytes
    void* at;  // the first of them, of the first token

    Heads(const Tensor& x, int64_t first, int64_t count)
        : B(x.dim_size(0)), tokens(x.dim_size(1)), row(x.dim_size(2)), K(x.dim_size(3)), first(first), count(count),
          size(tensorflow::DataTypeSize(x.dtype())), at(static_cast<char*>(Data(x)) + first * K * size) {}

    /** `n` of these heads, from the i-th on. */
    Heads Some(int64_t i, int64_t n) const {
        Heads some = *this;
        some.first += i;
        some.count = n;
        some.at = static_cast<char*>(at) + i * K * size;
        return some;
    }
};

/** What is attended, and how. */
struct Attended {
    Heads q, k, v;
    bool causal;
    float scale;
    DataType type;
};
/** What forward gave, and the gradient by its output. */
struct AttendedOutput {
    const Tensor &dO, &o, &lse;
};
/** Where backward writes: heads like those of the inputs. */
struct AttendedGradients {
    Heads dq, dk, dv;
};

/** o and lse of q, k and v. */
void Flash(OpKernelContext* ctx, const Attended& inputs, const Tensor& o, const Tensor& lse);

/** dq, dk and dv. */
void FlashGrad(OpKernelContext* ctx, const Attended& inputs, const AttendedOutput& output,
               const AttendedGradients& gradients);

}  // namespace fourfold::cuda
