/** Attention by our own kernels: flash-attention.cu and flash-attention-grad.cu. */
#pragma once
#include "op.h"

namespace fourfold::cuda {

struct Attended {
    const Tensor &q, &k, &v;
    bool causal;
    float scale;
};
struct AttendedOutput {
    const Tensor &dO, &o, &lse;
};
struct AttendedGradients {
    const Tensor &dq, &dk, &dv;
};

/** o and lse of q, k and v. */
void Flash(OpKernelContext* ctx, const Attended& inputs, const Tensor& o, const Tensor& lse);

void FlashGrad(OpKernelContext* ctx, const Attended& inputs, const AttendedOutput& output,
               const AttendedGradients& gradients);

}  // namespace fourfold::cuda
