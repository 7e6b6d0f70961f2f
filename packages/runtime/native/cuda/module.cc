/**
 * Fourfold's ops on the GPU as one library, which registers them with TensorFlow when it is loaded, and what JavaScript
 * calls (packages/runtime/src/cuda.ts has the same list with types).
 *
 *   configure(sources, cache)       where the .cu files are, and where to keep what is compiled of them
 *   compile(file, given, arch)      compiles one of them for 'sm_90' and returns its size in bytes: needs no GPU
 *   dtypes()                        those that the ops take
 *   copied()                        a promise of the oldest tensor that FourfoldCopyOut was given: { numbers, ago },
 *                                   a Float32Array and how many milliseconds ago it was there
 *   aim(memory, at, from, bytes)    where FourfoldCopyInto copies to, and which bytes of its tensor; pins the memory
 *   arrived()                       a promise of the end of all copies that were enqueued
 *   unpin()                         gives back what was pinned
 *   mark()                          remembers this place in TensorFlow's stream, and returns the driver's name for it
 *   marks()                         when the GPU came by the places, in milliseconds since the first; forgets them
 *   memory()                        { now, peak }: bytes that TensorFlow's allocator has given out on the GPU
 *   resetPeak()                     lets the peak begin anew
 */
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "../gpu/js.h"
#include "decoder-layer.h"
#include "experts.h"
#include "layers.h"
#include "loss.h"
#include "merge.h"
#include "optimizer.h"
#include "product.h"
#include "transfer.h"

namespace fourfold::cuda {

// ## Kernels

/** configure(sources, cache) */
static napi_value Configured(const Arguments& a) {
    Configure(a.Text(0), a.Text(1));
    return nullptr;
}

/** compile(file, given, arch) -> bytes: for tests, where there is no GPU. */
static napi_value Compiled(const Arguments& a) {
    return NumberOf(a.env, Compile(a.Text(0), a.Texts(1), a.Text(2)).size());
}

/** dtypes() -> what the ops are made for */
static napi_value Dtypes(const Arguments& a) {
    napi_value list;
    napi_create_array(a.env, &list);
    napi_set_element(a.env, list, 0, TextOf(a.env, "float32"));
    napi_set_element(a.env, list, 1, TextOf(a.env, "bfloat16"));
    return list;
}

// ## Copies

using Clock = std::chrono::steady_clock;

/** { numbers, ago }: JavaScript's thread may have been busy since they came. */
static napi_value Arrived(napi_env env, const Pinned& piece, Clock::time_point at) {
    const std::chrono::duration<double, std::milli> ago = Clock::now() - at;
    napi_value result, buffer, numbers;
    void* to = nullptr;
    napi_create_arraybuffer(env, piece.bytes, &to, &buffer);
    std::memcpy(to, piece.data, piece.bytes);
    napi_create_typedarray(env, napi_float32_array, piece.bytes / sizeof(float), buffer, 0, &numbers);
    napi_create_object(env, &result);
    napi_set_named_property(env, result, "numbers", numbers);
    napi_set_named_property(env, result, "ago", NumberOf(env, ago.count()));
    return result;
}

/** Waits for the GPU in a thread of its own: JavaScript's goes on enqueuing. */
static napi_value Copied(const Arguments& a) {
    const std::shared_ptr<Pinned> piece = transfers().Oldest();
    return InThread(a.env, [piece]() -> Result {
        InContext context;
        piece->copied.Synchronize();
        const Clock::time_point at = Clock::now();
        return [piece, at](napi_env env) {
            const napi_value result = Arrived(env, *piece, at);
            transfers().Spare(piece);
            return result;
        };
    });
}

/** aim(memory, at, from, bytes): where the next FourfoldCopyInto copies to */
static napi_value Aim(const Arguments& a) {
    InContext context;
    void* memory = nullptr;
    size_t size = 0;
    if (napi_get_arraybuffer_info(a.env, a.at[0], &memory, &size) != napi_ok) throw Error("aim takes an ArrayBuffer");
    landings().Aim(memory, size, a.Number(1), a.Number(2), a.Number(3));
    return nullptr;
}

/** arrived() -> a promise: all that is enqueued up to here has been done */
static napi_value ArrivedAll(const Arguments& a) {
    InContext context;
    auto end = std::make_shared<Event>(CU_EVENT_DISABLE_TIMING);
    end->Record(ComputeStream());
    return InThread(a.env, [end]() -> Result {
        InContext here;
        end->Synchronize();
        return {};
    });
}

/** unpin(): the memory may move again */
static napi_value Unpin(const Arguments&) {
    InContext context;
    landings().Unpin();
    return nullptr;
}

// ## Times

/** Those of the process. They are never destroyed: the driver may be gone by then. */
static std::vector<Event>& Places() {
    static auto* const places = new std::vector<Event>;
    return *places;
}

/** mark() -> the event's address: times count from it */
static napi_value Mark(const Arguments& a) {
    InContext context;
    Event place(CU_EVENT_DEFAULT);
    place.Record(ComputeStream());
    Places().push_back(std::move(place));
    return NumberOf(a.env, reinterpret_cast<uintptr_t>(Places().back().Handle()));
}

/** marks() -> milliseconds after the first */
static napi_value Marks(const Arguments& a) {
    InContext context;
    const std::vector<Event> places = std::move(Places());
    Places().clear();
    if (!places.empty()) places.back().Synchronize();
    std::vector<double> times;
    for (const Event& place : places) times.push_back(place.After(places[0]));
    return NumbersOf(a.env, times);
}

// ## Memory

// Before the first op nothing was given out.

static napi_value Memory(const Arguments& a) {
    tensorflow::Allocator* const allocator = ComputeAllocator();
    const auto stats = allocator == nullptr ? std::nullopt : allocator->GetStats();
    napi_value figures;
    napi_create_object(a.env, &figures);
    napi_set_named_property(a.env, figures, "now", NumberOf(a.env, stats ? stats->bytes_in_use : 0));
    napi_set_named_property(a.env, figures, "peak", NumberOf(a.env, stats ? stats->peak_bytes_in_use : 0));
    return figures;
}

/** resetPeak(): the peak is measured from here */
static napi_value ResetPeak(const Arguments&) {
    if (ComputeAllocator() != nullptr) ComputeAllocator()->ClearStats();
    return nullptr;
}

NAPI_MODULE_INIT() {
    Export<Configured>(env, exports, "configure");
    Export<Compiled>(env, exports, "compile");
    Export<Dtypes>(env, exports, "dtypes");
    Export<Copied>(env, exports, "copied");
    Export<Aim>(env, exports, "aim");
    Export<ArrivedAll>(env, exports, "arrived");
    Export<Unpin>(env, exports, "unpin");
    Export<Mark>(env, exports, "mark");
    Export<Marks>(env, exports, "marks");
    Export<Memory>(env, exports, "memory");
    Export<ResetPeak>(env, exports, "resetPeak");
    return exports;
}

}  // namespace fourfold::cuda
