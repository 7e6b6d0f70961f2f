/**
 * NCCL and the CUDA driver, opened when they are first asked for.
 *
 * Neither's headers are needed to compile this: the few types and functions that are used stand here, under the names
 * that NVIDIA's documentation gives them (nccl.h of NCCL 2.18 and later, cuda.h of CUDA 11.4 and later). Structures
 * differ from the libraries' own only in what nobody looks into: handles are plain pointers.
 */
#pragma once
#include <cstddef>
#include <stdexcept>
#include <string>

namespace fourfold::nccl {

/** What a library says went wrong, in its own words. Thrown inside this module only; its edges turn it around. */
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// ## The CUDA driver's interface (libcuda.so.1)

using CUdevice = int;
using CUcontext = void*;
using CUstream = void*;
using CUevent = void*;
using CUdeviceptr = unsigned long long;
using CUresult = int;
struct CUuuid {
    char bytes[16];
};

constexpr CUresult CUDA_ERROR_DEINITIALIZED = 4, CUDA_ERROR_NOT_READY = 600;
constexpr unsigned CU_STREAM_NON_BLOCKING = 1;  // not ordered with the default stream
constexpr unsigned CU_EVENT_DISABLE_TIMING = 2;

/** Functions of the driver. `_v2` is the binary name of what cuda.h calls by the name before it. */
struct Cuda {
    CUresult (*cuInit)(unsigned flags);
    CUresult (*cuDeviceGet)(CUdevice*, int ordinal);
    CUresult (*cuDeviceGetUuid_v2)(CUuuid*, CUdevice);
    CUresult (*cuDevicePrimaryCtxRetain)(CUcontext*, CUdevice);
    CUresult (*cuCtxPushCurrent_v2)(CUcontext);
    CUresult (*cuCtxPopCurrent_v2)(CUcontext*);
    CUresult (*cuCtxGetStreamPriorityRange)(int* least, int* greatest);
    CUresult (*cuStreamCreateWithPriority)(CUstream*, unsigned flags, int priority);
    CUresult (*cuStreamDestroy_v2)(CUstream);
    CUresult (*cuStreamQuery)(CUstream);
    CUresult (*cuStreamWaitEvent)(CUstream, CUevent, unsigned flags);
    CUresult (*cuLaunchHostFunc)(CUstream, void (*function)(void*), void* argument);
    CUresult (*cuEventCreate)(CUevent*, unsigned flags);
    CUresult (*cuEventRecord)(CUevent, CUstream);
    CUresult (*cuEventQuery)(CUevent);
    CUresult (*cuEventDestroy_v2)(CUevent);
    CUresult (*cuMemAlloc_v2)(CUdeviceptr*, size_t bytes);
    CUresult (*cuMemFree_v2)(CUdeviceptr);
    CUresult (*cuGetErrorString)(CUresult, const char**);
};

/** The driver; throws Error where the machine has none. */
const Cuda& cuda();

/** Throws Error for any result but success. */
void Check(const char* what, CUresult);

/** The context in which TensorFlow computes: the primary one of the first GPU that this process sees. */
CUcontext PrimaryContext();

/** Makes TensorFlow's context this thread's for as long as it lives. */
class InContext {
  public:
    InContext() { Check("cuCtxPushCurrent", cuda().cuCtxPushCurrent_v2(PrimaryContext())); }
    ~InContext() {
        CUcontext popped;
        cuda().cuCtxPopCurrent_v2(&popped);
    }
    InContext(const InContext&) = delete;
};

// ## NCCL's interface (libnccl.so.2)

struct ncclUniqueId {
    char internal[128];
};
using ncclComm_t = void*;
using ncclResult_t = int;
using ncclDataType_t = int;
using ncclRedOp_t = int;

constexpr ncclResult_t ncclSuccess = 0, ncclInProgress = 7;
constexpr ncclDataType_t ncclInt32 = 2, ncclFloat32 = 7, ncclBfloat16 = 9;
constexpr ncclRedOp_t ncclSum = 0, ncclMax = 2, ncclAvg = 4;
constexpr int NCCL_SPLIT_NOCOLOR = -1;

/** Functions of NCCL. Counts are elements; the stream is where the call waits its turn on the GPU. */
struct Nccl {
    ncclResult_t (*ncclGetVersion)(int*);
    ncclResult_t (*ncclGetUniqueId)(ncclUniqueId*);
    ncclResult_t (*ncclCommInitRank)(ncclComm_t*, int size, ncclUniqueId, int rank);
    ncclResult_t (*ncclCommSplit)(ncclComm_t, int color, int key, ncclComm_t*, void* config);
    ncclResult_t (*ncclCommDestroy)(ncclComm_t);
    ncclResult_t (*ncclCommAbort)(ncclComm_t);
    ncclResult_t (*ncclCommCount)(ncclComm_t, int* size);
    ncclResult_t (*ncclCommUserRank)(ncclComm_t, int* rank);
    ncclResult_t (*ncclCommGetAsyncError)(ncclComm_t, ncclResult_t*);
    const char* (*ncclGetErrorString)(ncclResult_t);
    const char* (*ncclGetLastError)(ncclComm_t);
    ncclResult_t (*ncclAllReduce)(const void*, void*, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t, CUstream);
    ncclResult_t (*ncclAllGather)(const void*, void*, size_t sent, ncclDataType_t, ncclComm_t, CUstream);
    ncclResult_t (*ncclReduceScatter)(const void*, void*, size_t received, ncclDataType_t, ncclRedOp_t, ncclComm_t,
                                      CUstream);
    ncclResult_t (*ncclBroadcast)(const void*, void*, size_t, ncclDataType_t, int root, ncclComm_t, CUstream);
    ncclResult_t (*ncclSend)(const void*, size_t, ncclDataType_t, int peer, ncclComm_t, CUstream);
    ncclResult_t (*ncclRecv)(void*, size_t, ncclDataType_t, int peer, ncclComm_t, CUstream);
    ncclResult_t (*ncclGroupStart)();
    ncclResult_t (*ncclGroupEnd)();
};

/** NCCL; throws Error where it can't be opened. */
const Nccl& nccl();

/** What NCCL says of a result that is no success: its name for it, and what it logged last. */
std::string WordsOf(ncclResult_t, ncclComm_t);

/** Throws Error for any result but success. `comm` may be null. */
void Check(const char* what, ncclResult_t, ncclComm_t comm);

}  // namespace fourfold::nccl
