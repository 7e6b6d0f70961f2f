/**
 * Fourfold's ops on the GPU as one library, which registers them with TensorFlow when it is loaded, and what JavaScript
 * calls (packages/runtime/src/cuda.ts has the same list with types).
 *
 *   configure(sources, cache)       where the .cu files are, and where to keep what is compiled of them
 *   compile(file, given, arch)      compiles one of them for 'sm_90' and returns its size in bytes: needs no GPU
 *   dtypes()                        those that the ops take
 *   copied()                        a promise of the oldest tensor that FourfoldCopyOut was given: a Float32Array
 *   mark()                          remembers this place in TensorFlow's stream
 *   marks()                         when the GPU came by the places, in milliseconds since the first; forgets them
 *   memory()                        { now, peak }: bytes that TensorFlow's allocator has given out on the GPU
 *   resetPeak()                     lets the peak begin anew
 */
#include <node_api.h>

#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "layers.h"
#include "loss.h"
#include "optimizer.h"
#include "product.h"
#include "transfer.h"

namespace fourfold::cuda {

// ## Between JavaScript and C++

static napi_value TextOf(napi_env env, const std::string& text) {
    napi_value value;
    napi_create_string_utf8(env, text.data(), text.size(), &value);
    return value;
}

static napi_value NumberOf(napi_env env, double number) {
    napi_value value;
    napi_create_double(env, number, &value);
    return value;
}

static std::string Text(napi_env env, napi_value value) {
    size_t length = 0;
    if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) throw Error("a text is needed");
    std::string text(length, '\0');
    napi_get_value_string_utf8(env, value, text.data(), length + 1, &length);
    return text;
}

static std::vector<std::string> Texts(napi_env env, napi_value list) {
    uint32_t length = 0;
    if (napi_get_array_length(env, list, &length) != napi_ok) throw Error("a list of texts is needed");
    std::vector<std::string> texts;
    for (uint32_t i = 0; i < length; i++) {
        napi_value element;
        napi_get_element(env, list, i, &element);
        texts.push_back(Text(env, element));
    }
    return texts;
}

/** A function of JavaScript's with up to three arguments; an Error that `body` throws is thrown there. */
template <napi_value (*body)(napi_env, napi_value*)>
static napi_value Function(napi_env env, napi_callback_info info) {
    napi_value arguments[3];
    size_t count = 3;
    napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
    try {
        return body(env, arguments);
    } catch (const Error& error) {
        napi_throw_error(env, nullptr, error.what());
        return nullptr;
    }
}

// ## Kernels

static napi_value Configured(napi_env env, napi_value* a) {
    Configure(Text(env, a[0]), Text(env, a[1]));
    return nullptr;
}

static napi_value Compiled(napi_env env, napi_value* a) {
    return NumberOf(env, Compile(Text(env, a[0]), Texts(env, a[1]), Text(env, a[2])).size());
}

static napi_value Dtypes(napi_env env, napi_value*) {
    napi_value list;
    napi_create_array(env, &list);
    napi_set_element(env, list, 0, TextOf(env, "float32"));
    napi_set_element(env, list, 1, TextOf(env, "bfloat16"));
    return list;
}

// ## Copies

/** A promise of numbers that are on their way. */
struct Arrival {
    napi_deferred deferred;
    napi_threadsafe_function settle;
    std::shared_ptr<Pinned> piece;
    std::string error;
};

static void Settle(napi_env env, napi_value, void*, void* data) {
    const std::unique_ptr<Arrival> arrival(static_cast<Arrival*>(data));
    if (env == nullptr) return;  // Node is going down
    napi_value value, buffer;
    void* to = nullptr;
    if (arrival->error.empty()) {
        napi_create_arraybuffer(env, arrival->piece->bytes, &to, &buffer);
        std::memcpy(to, arrival->piece->data, arrival->piece->bytes);
        napi_create_typedarray(env, napi_float32_array, arrival->piece->bytes / sizeof(float), buffer, 0, &value);
        napi_resolve_deferred(env, arrival->deferred, value);
    } else {
        napi_create_error(env, nullptr, TextOf(env, arrival->error), &value);
        napi_reject_deferred(env, arrival->deferred, value);
    }
    napi_release_threadsafe_function(arrival->settle, napi_tsfn_release);
}

/** Waits for the GPU in a thread of its own: JavaScript's goes on enqueuing. */
static napi_value Copied(napi_env env, napi_value*) {
    napi_value promise;
    auto* const arrival = new Arrival;
    arrival->piece = transfers().Oldest();
    napi_create_promise(env, &arrival->deferred, &promise);
    napi_create_threadsafe_function(env, nullptr, nullptr, TextOf(env, "copied"), 0, 1, nullptr, nullptr, nullptr,
                                    Settle, &arrival->settle);
    std::thread([arrival] {
        try {
            InContext context;
            Check("cuEventSynchronize", driver().cuEventSynchronize(arrival->piece->copied));
        } catch (const Error& error) {
            arrival->error = error.what();
        }
        napi_call_threadsafe_function(arrival->settle, arrival, napi_tsfn_blocking);
    }).detach();
    return promise;
}

// ## Times

static std::vector<CUevent> placed;

static napi_value Mark(napi_env env, napi_value*) {
    InContext context;
    CUevent event;
    Check("cuEventCreate", driver().cuEventCreate(&event, CU_EVENT_DEFAULT));
    Check("cuEventRecord", driver().cuEventRecord(event, ComputeStream()));
    placed.push_back(event);
    return nullptr;
}

static napi_value Marks(napi_env env, napi_value*) {
    InContext context;
    napi_value list;
    napi_create_array(env, &list);
    if (!placed.empty()) Check("cuEventSynchronize", driver().cuEventSynchronize(placed.back()));
    for (size_t i = 0; i < placed.size(); i++) {
        float milliseconds = 0;
        Check("cuEventElapsedTime", driver().cuEventElapsedTime(&milliseconds, placed[0], placed[i]));
        napi_set_element(env, list, i, NumberOf(env, milliseconds));
    }
    for (CUevent event : placed) driver().cuEventDestroy_v2(event);
    placed.clear();
    return list;
}

// ## Memory

// Before the first op nothing was given out.

static napi_value Memory(napi_env env, napi_value*) {
    tensorflow::Allocator* const allocator = ComputeAllocator();
    const auto stats = allocator == nullptr ? std::nullopt : allocator->GetStats();
    napi_value figures;
    napi_create_object(env, &figures);
    napi_set_named_property(env, figures, "now", NumberOf(env, stats ? stats->bytes_in_use : 0));
    napi_set_named_property(env, figures, "peak", NumberOf(env, stats ? stats->peak_bytes_in_use : 0));
    return figures;
}

static napi_value ResetPeak(napi_env env, napi_value*) {
    if (ComputeAllocator() != nullptr) ComputeAllocator()->ClearStats();
    return nullptr;
}

static void Export(napi_env env, napi_value exports, const char* name, napi_callback callback) {
    napi_value function;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function);
    napi_set_named_property(env, exports, name, function);
}

NAPI_MODULE_INIT() {
    Export(env, exports, "configure", Function<Configured>);
    Export(env, exports, "compile", Function<Compiled>);
    Export(env, exports, "dtypes", Function<Dtypes>);
    Export(env, exports, "copied", Function<Copied>);
    Export(env, exports, "mark", Function<Mark>);
    Export(env, exports, "marks", Function<Marks>);
    Export(env, exports, "memory", Function<Memory>);
    Export(env, exports, "resetPeak", Function<ResetPeak>);
    return exports;
}

}  // namespace fourfold::cuda
