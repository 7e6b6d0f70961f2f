/**
 * What the fused CPU ops share: TensorFlow's headers, rows dealt out to its threads, and an exponential that the
 * compiler turns into vector instructions.
 *
 * Why fused: a stock kernel reads its inputs from memory, does one operation and writes the result back, and waking
 * TensorFlow's threads costs tens of microseconds each time. RMSNorm in stock kernels does that six times forward.
 * Here a row is read once, and everything is done while it is in the cache.
 */
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace fourfold {

using tensorflow::DEVICE_CPU;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::shape_inference::InferenceContext;

inline const float* In(OpKernelContext* ctx, int i) { return ctx->input(i).flat<float>().data(); }

/** Output `i`, of the shape of input `like`; null, with the context's status set, where there is no memory for it. */
inline float* OutLike(OpKernelContext* ctx, int i, int like) {
    Tensor* out = nullptr;
    ctx->SetStatus(ctx->allocate_output(i, ctx->input(like).shape(), &out));
    return ctx->status().ok() ? out->flat<float>().data() : nullptr;
}

/** Calls work(first, last) on TensorFlow's threads for parts of 0..rows. One row costs about `cycles`. */
template <class Work>
void ForRows(OpKernelContext* ctx, int64_t rows, int64_t cycles, Work work) {
    ctx->device()->tensorflow_cpu_worker_threads()->workers->ParallelFor(rows, cycles, work);
}

/**
 * exp(x) to about 2 units in the last place. x = n ln 2 + r with |r| ≤ ln 2 / 2, exp(r) by its Taylor series to r^7,
 * and 2^n by writing n into the exponent bits. Below -87 it gives exp(-87), 1.6e-38; above 88, exp(88).
 */
inline float Exp(float x) {
    x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
    const float n = std::nearbyintf(x * 1.44269504f);
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts, the first exact times n
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return p * power;
}

}  // namespace fourfold
