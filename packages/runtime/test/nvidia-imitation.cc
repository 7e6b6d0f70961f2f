/**
 * Stands for libcuda.so.1 and libnccl.so.2 where there is no GPU: says each call on stdout, and keeps the time.
 *
 * A stream has a clock, which work moves on; an event takes the time of the stream that it is recorded in, and a stream
 * that waits for an event goes on from the event's time at the earliest. A collective takes 3 ms. Streams are s0, s1
 * and events e0, e1 and so on in the order in which they were made.
 */
#include <cstdio>
#include <cstring>
#include <string>

struct Stream {
    int number;
    float clock = 0;
};
struct Event {
    int number;
    unsigned flags;
    float time = 0;
    bool passed = true;
};

static int streams = 0, events = 0, alive = 0;

static std::string S(const Stream* s) { return "s" + std::to_string(s->number); }
static std::string E(const Event* e) { return "e" + std::to_string(e->number); }
static int Say(const std::string& call) {
    printf("%s\n", call.c_str());
    return 0;
}

extern "C" {

// ## For the program that tests

Stream* imitation_stream() { return new Stream{streams++}; }
void imitation_work(Stream* s, float milliseconds) { s->clock += milliseconds; }
void imitation_unfinished(Event* e) { e->passed = false; }
Event* imitation_newest = nullptr;
int imitation_events() { return alive; }

// ## The driver

int cuInit(unsigned) { return 0; }
int cuDeviceGet(int* device, int) { return *device = 0; }
int cuDevicePrimaryCtxRetain(void** context, int) { return *context = nullptr, 0; }
int cuCtxPushCurrent_v2(void*) { return 0; }
int cuCtxPopCurrent_v2(void**) { return 0; }
int cuCtxGetStreamPriorityRange(int* least, int* greatest) { return *least = 0, *greatest = -5, 0; }
int cuStreamCreateWithPriority(Stream** s, unsigned flags, int priority) {
    *s = imitation_stream();
    return Say("new " + S(*s) + ", flags " + std::to_string(flags) + ", priority " + std::to_string(priority));
}
int cuStreamDestroy_v2(Stream*) { return 0; }
int cuStreamQuery(Stream*) { return 0; }
int cuStreamWaitEvent(Stream* s, Event* e, unsigned) {
    if (e->time > s->clock) s->clock = e->time;
    return Say(S(s) + " waits for " + E(e));
}
int cuEventCreate(Event** e, unsigned flags) {
    *e = imitation_newest = new Event{events++, flags};
    alive++;
    return 0;
}
int cuEventRecord(Event* e, Stream* s) {
    e->time = s->clock;
    return Say(S(s) + " comes by " + E(e) + (e->flags == 0 ? ", timed" : ""));
}
int cuEventQuery(Event* e) { return e->passed ? 0 : 600; }
int cuEventSynchronize(Event* e) { return Say("the host waits for " + E(e)); }
int cuEventElapsedTime(float* milliseconds, Event* from, Event* to) {
    if (from->flags != 0 || to->flags != 0) return 400;  // as CUDA has it: only timed events have times
    *milliseconds = to->time - from->time;
    return 0;
}
int cuEventDestroy_v2(Event* e) {
    delete e;
    alive--;
    return 0;
}
int cuMemAlloc_v2(unsigned long long* memory, size_t) { return *memory = 0, 0; }
int cuMemFree_v2(unsigned long long) { return 0; }
int cuGetErrorString(int, const char** words) { return *words = "no such thing", 0; }

#define UNUSED(name) \
    int name() { return Say(#name); }
UNUSED(cuDeviceGetAttribute)
UNUSED(cuDeviceGetUuid_v2)
UNUSED(cuModuleLoadData)
UNUSED(cuModuleGetFunction)
UNUSED(cuLaunchKernel)
UNUSED(cuLaunchHostFunc)
UNUSED(cuMemAllocHost_v2)
UNUSED(cuMemHostRegister_v2)
UNUSED(cuMemHostUnregister)
UNUSED(cuMemFreeHost)
UNUSED(cuMemcpyHtoDAsync_v2)
UNUSED(cuMemcpyDtoHAsync_v2)

// ## NCCL

struct Id {
    char bytes[128];
};
int ncclGetVersion(int* version) { return *version = 22703, 0; }
int ncclCommInitRank(void** comm, int, Id, int) { return *comm = &streams, 0; }
int ncclCommCount(void*, int* size) { return *size = 2, 0; }
int ncclCommUserRank(void*, int* rank) { return *rank = 0; }
int ncclCommGetAsyncError(void*, int* error) { return *error = 0; }
const char* ncclGetErrorString(int) { return "an error"; }
const char* ncclGetLastError(void*) { return ""; }
int ncclCommDestroy(void*) { return 0; }
int ncclAllReduce(const void*, void*, size_t count, int, int, void*, Stream* s) {
    s->clock += 3;
    return count == 1 ? 0 : Say(S(s) + " sums " + std::to_string(count));
}
int ncclSend(const void*, size_t, int, int, void*, Stream*) { return 0; }
int ncclRecv(void*, size_t, int, int, void*, Stream*) { return 0; }
int ncclGroupStart() { return 0; }
int ncclGroupEnd() { return 0; }
UNUSED(ncclGetUniqueId)
UNUSED(ncclCommSplit)
UNUSED(ncclCommAbort)
UNUSED(ncclAllGather)
UNUSED(ncclReduceScatter)
UNUSED(ncclBroadcast)
}
