/** Opens the driver and turns its error codes into words. */
#include "driver.h"

#include <utility>

namespace fourfold::gpu {

static Driver OpenDriver() {
    void* library = Open({"libcuda.so.1"});
    Driver f;
    FIND(cuInit);
    FIND(cuDeviceGet);
    FIND(cuDeviceGetAttribute);
    FIND(cuDeviceGetUuid_v2);
    FIND(cuDevicePrimaryCtxRetain);
    FIND(cuCtxPushCurrent_v2);
    FIND(cuCtxPopCurrent_v2);
    FIND(cuCtxGetStreamPriorityRange);
    FIND(cuModuleLoadData);
    FIND(cuModuleGetFunction);
    FIND(cuLaunchKernel);
    FIND(cuLaunchHostFunc);
    FIND(cuStreamCreateWithPriority);
    FIND(cuStreamDestroy_v2);
    FIND(cuStreamQuery);
    FIND(cuStreamWaitEvent);
    FIND(cuEventCreate);
    FIND(cuEventRecord);
    FIND(cuEventQuery);
    FIND(cuEventSynchronize);
    FIND(cuEventElapsedTime);
    FIND(cuEventDestroy_v2);
    FIND(cuMemAlloc_v2);
    FIND(cuMemFree_v2);
    FIND(cuMemAllocHost_v2);
    FIND(cuMemFreeHost);
    FIND(cuMemHostRegister_v2);
    FIND(cuMemHostUnregister);
    FIND(cuMemcpyHtoDAsync_v2);
    FIND(cuMemcpyDtoHAsync_v2);
    FIND(cuGetErrorString);
    return f;
}

const Driver& driver() {
    static const Driver functions = OpenDriver();
    return functions;
}

void Check(const char* call, CUresult result) {
    if (result == 0) return;
    const char* words = nullptr;
    driver().cuGetErrorString(result, &words);
    const std::string code = "error " + std::to_string(result);
    throw Error(std::string("CUDA says of ") + call + ": " + (words == nullptr ? code : words));
}

// ## The device

CUdevice Device() {
    static const CUdevice device = [] {
        CUdevice first;
        Check("cuInit", driver().cuInit(0));
        Check("cuDeviceGet", driver().cuDeviceGet(&first, 0));
        return first;
    }();
    return device;
}

CUcontext PrimaryContext() {
    static const CUcontext context = [] {
        CUcontext retained;
        Check("cuDevicePrimaryCtxRetain", driver().cuDevicePrimaryCtxRetain(&retained, Device()));
        return retained;
    }();
    return context;
}

InContext::InContext() { Check("cuCtxPushCurrent", driver().cuCtxPushCurrent_v2(PrimaryContext())); }

InContext::~InContext() {
    CUcontext popped;
    driver().cuCtxPopCurrent_v2(&popped);
}

// ## Events

Event::Event(unsigned flags) { Check("cuEventCreate", driver().cuEventCreate(&event_, flags)); }

Event::~Event() {
    if (event_ != nullptr) driver().cuEventDestroy_v2(event_);
}

Event::Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}

Event& Event::operator=(Event&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
}

void Event::Record(CUstream stream) const { Check("cuEventRecord", driver().cuEventRecord(event_, stream)); }

void Event::Await(CUstream stream) const {
    Check("cuStreamWaitEvent", driver().cuStreamWaitEvent(stream, event_, 0));
}

CUresult Event::Query() const { return driver().cuEventQuery(event_); }

void Event::Synchronize() const { Check("cuEventSynchronize", driver().cuEventSynchronize(event_)); }

float Event::After(CUevent start) const {
    float milliseconds = 0;
    Check("cuEventElapsedTime", driver().cuEventElapsedTime(&milliseconds, start, event_));
    return milliseconds;
}

}  // namespace fourfold::gpu
