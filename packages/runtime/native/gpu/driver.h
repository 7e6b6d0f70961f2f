/**
 * The CUDA driver (libcuda.so.1), in which TensorFlow's kernels, ours and NCCL's all run: its functions, TensorFlow's
 * context, and events.
 *
 * The few types and functions that are used stand here under the names of cuda.h (CUDA 11.4 and later). Both modules
 * for GPUs, ../cuda and ../nccl, are compiled with this.
 */
#pragma once
#include <cstddef>

#include "library.h"

namespace fourfold::gpu {

using CUdevice = int;
using CUcontext = void*;
using CUstream = void*;
using CUevent = void*;
using CUmodule = void*;
using CUfunction = void*;
using CUresult = int;
using CUdeviceptr = unsigned long long;
struct CUuuid {
    char bytes[16];
};

constexpr CUresult CUDA_ERROR_DEINITIALIZED = 4, CUDA_ERROR_NOT_READY = 600;
constexpr unsigned CU_STREAM_NON_BLOCKING = 1;  // not ordered with the default stream
constexpr unsigned CU_EVENT_DEFAULT = 0, CU_EVENT_DISABLE_TIMING = 2;
constexpr int CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16;
constexpr int CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76;

/** Functions of the driver. `_v2` is the binary name of what cuda.h calls by the name before it. */
struct Driver {
    CUresult (*cuInit)(unsigned flags);
    CUresult (*cuDeviceGet)(CUdevice*, int ordinal);
    CUresult (*cuDeviceGetAttribute)(int*, int attribute, CUdevice);
    CUresult (*cuDeviceGetUuid_v2)(CUuuid*, CUdevice);
    CUresult (*cuDevicePrimaryCtxRetain)(CUcontext*, CUdevice);
    CUresult (*cuCtxPushCurrent_v2)(CUcontext);
    CUresult (*cuCtxPopCurrent_v2)(CUcontext*);
    CUresult (*cuCtxGetStreamPriorityRange)(int* least, int* greatest);
    CUresult (*cuModuleLoadData)(CUmodule*, const void* image);
    CUresult (*cuModuleGetFunction)(CUfunction*, CUmodule, const char* name);
    CUresult (*cuLaunchKernel)(CUfunction, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,
                               unsigned blockY, unsigned blockZ, unsigned sharedBytes, CUstream, void** arguments,
                               void** extra);
    CUresult (*cuLaunchHostFunc)(CUstream, void (*function)(void*), void* argument);
    CUresult (*cuStreamCreateWithPriority)(CUstream*, unsigned flags, int priority);
    CUresult (*cuStreamDestroy_v2)(CUstream);
    CUresult (*cuStreamQuery)(CUstream);
    CUresult (*cuStreamWaitEvent)(CUstream, CUevent, unsigned flags);
    CUresult (*cuEventCreate)(CUevent*, unsigned flags);
    CUresult (*cuEventRecord)(CUevent, CUstream);
    CUresult (*cuEventQuery)(CUevent);
    CUresult (*cuEventSynchronize)(CUevent);
    CUresult (*cuEventElapsedTime)(float* milliseconds, CUevent, CUevent);
    CUresult (*cuEventDestroy_v2)(CUevent);
    CUresult (*cuMemAlloc_v2)(CUdeviceptr*, size_t bytes);
    CUresult (*cuMemFree_v2)(CUdeviceptr);
    CUresult (*cuMemAllocHost_v2)(void**, size_t bytes);
    CUresult (*cuMemFreeHost)(void*);
    CUresult (*cuMemHostRegister_v2)(void*, size_t bytes, unsigned flags);
    CUresult (*cuMemHostUnregister)(void*);
    CUresult (*cuMemcpyHtoDAsync_v2)(CUdeviceptr, const void*, size_t bytes, CUstream);
    CUresult (*cuMemcpyDtoHAsync_v2)(void*, CUdeviceptr, size_t bytes, CUstream);
    CUresult (*cuGetErrorString)(CUresult, const char**);
};

/** The driver; throws Error where the machine has none. */
const Driver& driver();

/** Throws Error for any result but success. */
void Check(const char* call, CUresult);

/** The first GPU that this process sees, which is TensorFlow's. */
CUdevice Device();

/** The context in which TensorFlow computes: the device's primary one. */
CUcontext PrimaryContext();

/** Makes TensorFlow's context this thread's for as long as it lives. */
class InContext {
  public:
    InContext();
    ~InContext();
    InContext(const InContext&) = delete;
};

/** A place in a stream, which the GPU comes by. With CU_EVENT_DEFAULT it writes down when, which costs it a little. */
class Event {
  public:
    explicit Event(unsigned flags);
    ~Event();
    Event(Event&& other) noexcept;
    Event& operator=(Event&& other) noexcept;

    void Record(CUstream stream) const;
    /** What is enqueued on `stream` from here on comes after this place. An order to the GPU: nobody waits. */
    void Await(CUstream stream) const;
    /** 0 once the GPU has come here, CUDA_ERROR_NOT_READY before. */
    CUresult Query() const;
    /** Keeps this thread waiting until the GPU has come here. */
    void Synchronize() const;
    /** Milliseconds since `start`, which may be another module's. Both must have been passed. */
    float After(CUevent start) const;
    float After(const Event& start) const { return After(start.event_); }
    /** The driver's name for it, good for as long as this lives. */
    CUevent Handle() const { return event_; }

  private:
    CUevent event_ = nullptr;
};

}  // namespace fourfold::gpu
