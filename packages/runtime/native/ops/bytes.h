/**
 * Tensors in the processor's memory, handed to JavaScript without a copy, and the sums that transports take over them.
 *
 *   FourfoldLend(x)                 an op without results: puts x aside for the next call of
 *   takeLent(from, to) -> ArrayBuffer
 *                                   which lies over these bytes of x's own memory and keeps x alive
 *   giveBack(ArrayBuffer)           ends that: the ArrayBuffer is empty from now on
 *   fold(out, inputs, dtype, reduction)
 *                                   out = ((inputs[0] + inputs[1]) + inputs[2]) ..., arrays of bytes of one length
 *
 * A socket can so read into a tensor and write from one. Whoever changes such memory must be the only one who holds the
 * tensor: TensorFlow's own ops never change it while it is lent, since they see a second holder.
 */
#pragma once
#include <node_api.h>

#include <limits>

#include "kernel.h"
#include "tensorflow/core/platform/denormal.h"

namespace fourfold {

static Tensor* lent = nullptr;

class Lend : public OpKernel {
  public:
    using OpKernel::OpKernel;
    void Compute(OpKernelContext* ctx) override {
        delete lent;
        lent = new Tensor(ctx->input(0));
    }
};

REGISTER_OP("FourfoldLend").Input("x: T").Attr("T: {float, bfloat16, int32}").SetIsStateful().SetShapeFn(
    [](InferenceContext*) { return absl::OkStatus(); });
REGISTER_KERNEL_BUILDER(Name("FourfoldLend").Device(DEVICE_CPU), Lend);

static napi_value Throw(napi_env env, const char* message) {
    napi_throw_type_error(env, nullptr, message);
    return nullptr;
}

static napi_value TakeLent(napi_env env, napi_callback_info info) {
    size_t count = 2;
    napi_value arguments[2], buffer;
    int64_t from = -1, to = -1;
    napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
    napi_get_value_int64(env, arguments[0], &from);
    napi_get_value_int64(env, arguments[1], &to);
    Tensor* x = lent;
    lent = nullptr;
    if (x == nullptr) return Throw(env, "takeLent: no tensor has been lent");
    auto release = [](napi_env, void*, void* tensor) { delete static_cast<Tensor*>(tensor); };
    if (count == 2 && 0 <= from && from <= to && to <= static_cast<int64_t>(x->TotalBytes())) {
        char* data = static_cast<char*>(x->data()) + from;
        if (napi_create_external_arraybuffer(env, data, to - from, release, x, &buffer) == napi_ok) return buffer;
    }
    delete x;
    return Throw(env, "takeLent takes the first byte and the one after the last");
}

static napi_value GiveBack(napi_env env, napi_callback_info info) {
    size_t count = 1;
    napi_value buffer;
    napi_get_cb_info(env, info, &count, &buffer, nullptr, nullptr);
    if (napi_detach_arraybuffer(env, buffer) != napi_ok) return Throw(env, "giveBack takes an ArrayBuffer of takeLent");
    return nullptr;
}

// ## Sums

using Bfloat16 = tensorflow::bfloat16;

// bfloat16 is added as float32 and rounded once, at the end.
template <class T> struct Wide { using type = T; };
template <> struct Wide<Bfloat16> { using type = float; };

enum Reduction { kSum, kMean, kMax };

// The larger, or the first of two equal ones; NaN if either is. Subnormal numbers become 0, as in TensorFlow's Maximum.
template <class W>
inline W Larger(W a, W b) {
    const W most = b > a || b != b ? b : a;
    return std::abs(most) < std::numeric_limits<W>::min() ? most * 0 : most;
}
inline int32_t Larger(int32_t a, int32_t b) { return b > a ? b : a; }

/** out[i] = the reduction of inputs[0][i], inputs[1][i], ..., in this order. A block at a time stays in the cache. */
template <class T>
void Fold(T* out, const std::vector<const T*>& inputs, int64_t count, Reduction reduction) {
    using W = typename Wide<T>::type;
    constexpr int64_t kBlock = 4096;
    W sums[kBlock];
    for (int64_t start = 0; start < count; start += kBlock) {
        const int64_t size = std::min(kBlock, count - start);
        for (int64_t i = 0; i < size; i++) sums[i] = static_cast<W>(inputs[0][start + i]);
        for (size_t k = 1; k < inputs.size(); k++) {
            const T* x = inputs[k] + start;
            if (reduction == kMax)
                for (int64_t i = 0; i < size; i++) sums[i] = Larger(sums[i], static_cast<W>(x[i]));
            else
#pragma omp simd
                for (int64_t i = 0; i < size; i++) sums[i] += static_cast<W>(x[i]);
        }
        const W divisor = static_cast<W>(inputs.size());
        if (reduction == kMean)
            for (int64_t i = 0; i < size; i++) sums[i] /= divisor;
        for (int64_t i = 0; i < size; i++) out[start + i] = static_cast<T>(sums[i]);
    }
}

template <class T>
void FoldBytes(void* out, const std::vector<const void*>& inputs, size_t bytes, Reduction reduction) {
    std::vector<const T*> xs;
    for (const void* input : inputs) xs.push_back(static_cast<const T*>(input));
    Fold<T>(static_cast<T*>(out), xs, bytes / sizeof(T), reduction);
}

/** The memory of a Uint8Array; null where the value is none or has another length than `bytes`. */
static void* BytesOf(napi_env env, napi_value array, size_t* bytes) {
    napi_typedarray_type type;
    size_t length = 0;
    void* data = nullptr;
    if (napi_get_typedarray_info(env, array, &type, &length, &data, nullptr, nullptr) != napi_ok) return nullptr;
    if (type != napi_uint8_array || (*bytes != SIZE_MAX && length != *bytes)) return nullptr;
    *bytes = length;
    return data;
}

static int IntOf(napi_env env, napi_value value) {
    int32_t number = -1;
    napi_get_value_int32(env, value, &number);
    return number;
}

static napi_value FoldArrays(napi_env env, napi_callback_info info) {
    size_t count = 4, bytes = SIZE_MAX;
    napi_value arguments[4];
    uint32_t length = 0;
    napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
    void* out = count == 4 ? BytesOf(env, arguments[0], &bytes) : nullptr;
    if (count < 4 || napi_get_array_length(env, arguments[1], &length) != napi_ok || length == 0)
        return Throw(env, "fold takes a Uint8Array, an array of them, a dtype and a reduction");
    if (bytes == 0) return nullptr;
    std::vector<const void*> inputs;
    for (uint32_t i = 0; i < length; i++) {
        napi_value element;
        napi_get_element(env, arguments[1], i, &element);
        inputs.push_back(BytesOf(env, element, &bytes));
        if (out == nullptr || inputs.back() == nullptr) return Throw(env, "fold: the arrays are of different lengths");
    }
    const int dtype = IntOf(env, arguments[2]), reduction = IntOf(env, arguments[3]);
    if (reduction < kSum || reduction > kMax) return Throw(env, "fold: no such reduction");
    tensorflow::port::ScopedFlushDenormal flush;  // as TensorFlow's own kernels: the same bits as tf.add
    const auto kind = static_cast<Reduction>(reduction);
    if (dtype == tensorflow::DT_FLOAT) FoldBytes<float>(out, inputs, bytes, kind);
    else if (dtype == tensorflow::DT_INT32) FoldBytes<int32_t>(out, inputs, bytes, kind);
    else if (dtype == tensorflow::DT_BFLOAT16) FoldBytes<Bfloat16>(out, inputs, bytes, kind);
    else return Throw(env, "fold: no such dtype");
    return nullptr;
}

static void Export(napi_env env, napi_value exports, const char* name, napi_callback function) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
    napi_set_named_property(env, exports, name, value);
}

}  // namespace fourfold
