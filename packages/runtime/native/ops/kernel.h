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
#include <cstdint>
#include <cstring>
#include <string>
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
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// ## Inputs and outputs

/** Whether inputs `i` and `j` are of one shape. The kernels read by pointer: they ask before they read. */
inline bool SameShape(OpKernelContext* ctx, int i, int j) { return ctx->input(i).shape() == ctx->input(j).shape(); }

/** Whether input `i` is as long as input 0 is along `axis`, and has no other axis. */
inline bool IsAlong(OpKernelContext* ctx, int i, int axis) {
    return ctx->input(i).shape() == TensorShape({ctx->input(0).dim_size(axis)});
}

/** The error of an op that needs other shapes: "FourfoldRmsNorm needs x [N, D] and w [D], but got [2,3], [4]". */
inline absl::Status WrongShapes(OpKernelContext* ctx, const std::string& needed) {
    std::string got;
    for (int i = 0; i < ctx->num_inputs(); i++) got += (i > 0 ? ", " : "") + ctx->input(i).shape().DebugString();
    return absl::InvalidArgumentError(ctx->op_kernel().type_string() + " needs " + needed + ", but got " + got);
}

inline const float* In(OpKernelContext* ctx, int i) { return ctx->input(i).flat<float>().data(); }

/** Output `i`; where there is no memory for it, the context's status says so. */
inline float* Out(OpKernelContext* ctx, int i, const TensorShape& shape) {
    Tensor* out = nullptr;
    ctx->SetStatus(ctx->allocate_output(i, shape, &out));
    return ctx->status().ok() ? out->flat<float>().data() : nullptr;
}

/** The same, of the shape of input `like`. */
inline float* OutLike(OpKernelContext* ctx, int i, int like) { return Out(ctx, i, ctx->input(like).shape()); }

// ## Work

inline uint32_t BitsOf(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

/** Calls work(first, last) on TensorFlow's threads for parts of 0..rows. One row costs about `cycles`. */
template <class Work>
void ForRows(OpKernelContext* ctx, int64_t rows, int64_t cycles, Work work) {
    ctx->device()->tensorflow_cpu_worker_threads()->workers->ParallelFor(rows, cycles, work);
}

/**
 * exp(x) to about 2 units in the last place. x = n ln 2 + r with |r| ≤ ln 2 / 2, exp(r) by its Taylor series to r^7,
 * and 2^n by writing n into the exponent bits. Below -87 it gives exp(-87), 1.6e-38; above 88, exp(88); NaN stays NaN.
 *
 * Adding 1.5 · 2^23 rounds a float to a whole number, since there floats lie 1 apart, and leaves n in its lowest bits:
 * plain arithmetic on any processor, where rounding and converting to an integer would be a call, or undefined for NaN.
 */
inline float Exp(float x) {
    x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
    const float kWhole = 12582912.0f;  // 1.5 · 2^23
    const float shifted = x * 1.44269504f + kWhole;
    const float n = shifted - kWhole;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts, the first exact times n
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + (127u << 23);  // all but n's lowest bits is shifted out
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return p * power;
}

}  // namespace fourfold
