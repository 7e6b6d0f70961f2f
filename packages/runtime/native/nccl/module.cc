/**
 * What JavaScript calls (packages/process-group/src/nccl/native.ts has the same list with types).
 *
 *   version()                        NCCL's: '2.27.3'
 *   uniqueId()                       a name for a new group of ranks: 128 bytes
 *   gpu()                            the name of this process's GPU: 16 bytes, like no other GPU's in the world
 *   join(id, size, rank, timeout)    promise of a communicator's number; ready for collectives of all kinds
 *   split(comm, color, key)          promise of a part's; -1 for a negative color
 *   close(comm, abort)               promise of nothing
 *   ticket(comm, call)               the ticket of the collective started last
 *   wait(comm, ticket)               TensorFlow's ops from here on come after that collective
 *   startTiming(base)                takes the times of collectives, which count from what mark() of ../cuda returned
 *   stopTiming()                     of each that has ended: [ticket, start, end], in milliseconds
 *   drained()                        promise: the GPU has done all that TensorFlow was given so far
 *   watch(onTrouble)                 calls onTrouble(sentence) once, when a collective fails or takes too long
 *   endWithin(seconds)               ends the process with code 1 then, if it still runs
 *
 * JavaScript has one thread. What takes long runs in threads of its own, not in Node's four, which could then not even
 * read a file, and which Node waits for when it exits: a rank whose peers never come would not end.
 */
#include <stdio.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "../gpu/js.h"
#include "communicators.h"

namespace fourfold::nccl {

// ## Communicators

/** version() -> "2.27.3" */
static napi_value Version(const Arguments& a) {
    int version = 0;  // 22703 for 2.27.3
    Check("ncclGetVersion", nccl().ncclGetVersion(&version), nullptr);
    const int parts[] = {version / 10000, version / 100 % 100, version % 100};
    std::string text = std::to_string(parts[0]) + "." + std::to_string(parts[1]) + "." + std::to_string(parts[2]);
    return TextOf(a.env, text);
}

/** uniqueId() -> 128 bytes by which the ranks of a new group find each other */
static napi_value UniqueId(const Arguments& a) {
    ncclUniqueId id;
    Check("ncclGetUniqueId", nccl().ncclGetUniqueId(&id), nullptr);
    return BytesOf(a.env, &id, sizeof id);
}

/** gpu() -> 16 bytes that no other GPU has */
static napi_value Gpu(const Arguments& a) {
    CUuuid name;
    Check("cuDeviceGetUuid", driver().cuDeviceGetUuid_v2(&name, Device()));
    return BytesOf(a.env, &name, sizeof name);
}

/** join(id, size, rank, timeout) -> a promise of the group's number */
static napi_value Join(const Arguments& a) {
    ncclUniqueId id;
    a.Bytes(0, &id, sizeof id);
    const int size = a.Int(1), rank = a.Int(2);
    const double timeout = a.Number(3);
    nccl();  // opened here, since doing so sets an environment variable, which is safe in this thread alone
    return InThread(a.env, [=] { return Number(communicators().Join(id, size, rank, timeout)); });
}

/** split(group, color, key) -> a promise of the new group's number, or -1 */
static napi_value Split(const Arguments& a) {
    const int comm = a.Int(0), color = a.Int(1), key = a.Int(2);
    return InThread(a.env, [=] { return Number(communicators().Split(comm, color, key)); });
}

/** close(group, abort) -> a promise */
static napi_value Close(const Arguments& a) {
    const int comm = a.Int(0);
    const bool abort = a.Bool(1);
    return InThread(a.env, [=] {
        communicators().Close(comm, abort);
        return Result();
    });
}

// ## Tickets

/** ticket(group, call) -> the number of the collective started last */
static napi_value Ticket(const Arguments& a) {
    return NumberOf(a.env, communicators().Ticket(a.Int(0), a.Text(1)));
}

/** wait(group, ticket): the compute stream waits, JavaScript does not */
static napi_value Wait(const Arguments& a) {
    communicators().Wait(a.Int(0), static_cast<int64_t>(a.Number(1)));
    return nullptr;
}

/** startTiming(mark) */
static napi_value StartTiming(const Arguments& a) {
    communicators().StartTiming(reinterpret_cast<CUevent>(static_cast<uintptr_t>(a.Number(0))));
    return nullptr;
}

/** stopTiming() -> [ticket, start, end] of each that has ended */
static napi_value StopTiming(const Arguments& a) {
    napi_value list;
    uint32_t count = 0;
    napi_create_array(a.env, &list);
    for (const Time& time : communicators().StopTiming())
        napi_set_element(a.env, list, count++,
                         NumbersOf(a.env, {static_cast<double>(time.ticket), time.start, time.end}));
    return list;
}

// Reading a tensor keeps JavaScript's thread waiting for the GPU, and so for a peer that may have died. Who awaits this
// first leaves it free to hear of that.
static napi_value Drained(const Arguments& a) {
    napi_value promise;
    Job* job = NewJob(a.env, &promise);
    const CUstream compute = communicators().Compute();
    if (compute == nullptr) {
        Done(job);
        return promise;
    }
    try {
        InContext context;
        Check("cuLaunchHostFunc", driver().cuLaunchHostFunc(compute, Done, job));
    } catch (const Error& error) {
        job->error = error.what();
        Done(job);
    }
    return promise;
}

// ## The watch

static std::atomic<bool> told{false};  // JavaScript knows of the trouble

/** Calls `onTrouble` in JavaScript's thread. */
static void Tell(napi_env env, napi_value onTrouble, void*, void* data) {
    std::string* const sentence = static_cast<std::string*>(data);
    if (env != nullptr) {
        told = true;
        napi_value self, argument = TextOf(env, *sentence);
        napi_get_undefined(env, &self);
        napi_call_function(env, self, onTrouble, 1, &argument, nullptr);
    }
    delete sentence;
}

// Looks at all communicators 20 times a second. JavaScript is told of trouble and has 5 s to begin to end the process.
// It may be unable to hear: then it waits for the GPU, which waits for a peer that isn't there, and this ends the rank.
static void Watching(napi_threadsafe_function tell) {
    InContext context;
    std::string trouble;
    while (trouble.empty()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        trouble = communicators().Look();
    }
    auto* const sentence = new std::string(trouble);
    if (napi_call_threadsafe_function(tell, sentence, napi_tsfn_blocking) != napi_ok) return;  // the process is ending
    for (int i = 0; i < 100 && !told; i++) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    if (told) return;
    fprintf(stderr, "%s\n", trouble.c_str());
    _exit(1);
}

/** watch(onTrouble): starts the thread that looks. */
static napi_value Watch(const Arguments& a) {
    napi_threadsafe_function tell;
    const napi_value name = TextOf(a.env, "nccl");
    napi_create_threadsafe_function(a.env, a.at[0], nullptr, name, 0, 1, nullptr, nullptr, nullptr, Tell, &tell);
    napi_unref_threadsafe_function(a.env, tell);  // a program that has nothing left to do may end
    PrimaryContext();                             // an error of it is thrown here rather than in the thread
    std::thread(Watching, tell).detach();
    return nullptr;
}

/** endWithin(seconds): ends the process then, whatever it is doing. */
static napi_value EndWithin(const Arguments& a) {
    const std::chrono::duration<double> time(a.Number(0));
    std::thread([time] {
        std::this_thread::sleep_for(time);
        _exit(1);
    }).detach();
    return nullptr;
}

NAPI_MODULE_INIT() {
    Export<Version>(env, exports, "version");
    Export<UniqueId>(env, exports, "uniqueId");
    Export<Gpu>(env, exports, "gpu");
    Export<Join>(env, exports, "join");
    Export<Split>(env, exports, "split");
    Export<Close>(env, exports, "close");
    Export<Ticket>(env, exports, "ticket");
    Export<Wait>(env, exports, "wait");
    Export<StartTiming>(env, exports, "startTiming");
    Export<StopTiming>(env, exports, "stopTiming");
    Export<Drained>(env, exports, "drained");
    Export<Watch>(env, exports, "watch");
    Export<EndWithin>(env, exports, "endWithin");
    return exports;
}

}  // namespace fourfold::nccl
