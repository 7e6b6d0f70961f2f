/**
 * Weights as bytes, for JavaScript: rounded to blocks, back to float32, and from a file's order to the kernels'.
 *
 *   quantize(format, floats, out)                              ggml's blocks of 32 numbers
 *   dequantize(format, bytes, floats)
 *   pack(format, rows, columns, matrices, bytes, out)          rows to panels (panels.h)
 *   panelBytes(format, rows, columns) -> number                of one matrix
 *   hasVariant(variant) -> boolean                             whether this processor has its instructions
 *
 * All arrays are Uint8Arrays.
 */
#pragma once
#include "bytes.h"
#include "packed-variants.h"

namespace fourfold {

/** The arguments of a call, as whole numbers or bytes. */
struct Arguments {
    napi_env env;
    size_t count = 6;
    napi_value values[6];

    Arguments(napi_env e, napi_callback_info info) : env(e) {
        napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
    }
    int64_t Int(size_t i) const {
        int64_t number = -1;
        if (i < count) napi_get_value_int64(env, values[i], &number);
        return number;
    }
    Format FormatAt(size_t i) const { return static_cast<Format>(Int(i)); }
    bool HasFormat(size_t i) const { return Int(i) >= 0 && Int(i) <= static_cast<int64_t>(Format::kQ80); }
    /** The bytes, of which there must be `bytes`, or any number where that is SIZE_MAX. */
    uint8_t* Bytes(size_t i, size_t* bytes) const {
        return i < count ? static_cast<uint8_t*>(BytesOf(env, values[i], bytes)) : nullptr;
    }
};

/** Calls convert(format, block, floats) for every 32 numbers of arguments 1 and 2, of which `floats` is one. */
template <class Convert>
napi_value ConvertBlocks(const Arguments& given, size_t floats, Convert convert) {
    size_t float_bytes = SIZE_MAX;
    uint8_t* x = given.Bytes(floats, &float_bytes);
    if (!given.HasFormat(0) || float_bytes == SIZE_MAX || float_bytes % (4 * kBlock) != 0)
        return Throw(given.env, "quantize and dequantize take a format, and floats by blocks of 32");
    const Format format = given.FormatAt(0);
    const size_t blocks = float_bytes / (4 * kBlock);
    size_t bytes = blocks * BlockBytes(format);
    uint8_t* block = given.Bytes(3 - floats, &bytes);
    if (blocks == 0) return nullptr;
    if (x == nullptr || block == nullptr) return Throw(given.env, "quantize and dequantize: arrays of other lengths");
    for (size_t b = 0; b < blocks; b++) {
        float numbers[kBlock];
        std::memcpy(numbers, x + b * sizeof numbers, sizeof numbers);
        convert(format, block + b * BlockBytes(format), numbers);
        std::memcpy(x + b * sizeof numbers, numbers, sizeof numbers);
    }
    return nullptr;
}

static napi_value Quantize(napi_env env, napi_callback_info info) {
    return ConvertBlocks({env, info}, 1, [](Format f, uint8_t* block, const float* x) { QuantizeBlock(f, x, block); });
}

static napi_value Dequantize(napi_env env, napi_callback_info info) {
    return ConvertBlocks({env, info}, 2, [](Format f, uint8_t* block, float* x) { DequantizeBlock(f, block, x); });
}

static napi_value PanelBytes(napi_env env, napi_callback_info info) {
    const Arguments given(env, info);
    if (!given.HasFormat(0) || given.Int(1) < 1 || given.Int(2) < 1)
        return Throw(env, "panelBytes takes a format, rows and columns");
    napi_value bytes;
    napi_create_int64(env, Panels{given.FormatAt(0), given.Int(1), given.Int(2)}.MatrixBytes(), &bytes);
    return bytes;
}

static napi_value Pack(napi_env env, napi_callback_info info) {
    const Arguments given(env, info);
    const int64_t matrices = given.Int(3);
    if (!given.HasFormat(0) || given.Int(1) < 1 || given.Int(2) < 1 || matrices < 1)
        return Throw(env, "pack takes a format, rows, columns, matrices, and two arrays of bytes");
    const Panels w{given.FormatAt(0), given.Int(1), given.Int(2)};
    size_t rows_bytes = matrices * w.rows * w.RowBytes(), panels_bytes = matrices * w.MatrixBytes();
    const uint8_t* from = given.Bytes(4, &rows_bytes);
    uint8_t* to = given.Bytes(5, &panels_bytes);
    if (from == nullptr || to == nullptr) return Throw(env, "pack: arrays of other lengths");
    for (int64_t i = 0; i < matrices; i++)
        PackMatrix(w, from + i * w.rows * w.RowBytes(), to + i * w.MatrixBytes());
    return nullptr;
}

static napi_value HasVariant(napi_env env, napi_callback_info info) {
    const int64_t variant = Arguments(env, info).Int(0);
    napi_value has;
    napi_get_boolean(env, variant >= 0 && variant <= 3 && Has(static_cast<Variant>(variant)), &has);
    return has;
}

static void ExportPacked(napi_env env, napi_value exports) {
    Export(env, exports, "quantize", Quantize);
    Export(env, exports, "dequantize", Dequantize);
    Export(env, exports, "panelBytes", PanelBytes);
    Export(env, exports, "pack", Pack);
    Export(env, exports, "hasVariant", HasVariant);
}

}  // namespace fourfold
