/** Opens the two libraries and turns their error codes into words. */
#include "nccl.h"

#include <dlfcn.h>
#include <stdlib.h>

namespace fourfold::nccl {

static void* Open(const char* file) {
    void* library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw Error(std::string(file) + " can't be opened: " + dlerror());
    return library;
}

template <class Function>
static void Find(void* library, const char* name, Function*& function) {
    function = reinterpret_cast<Function*>(dlsym(library, name));
    if (function == nullptr) throw Error(std::string(name) + " is not in the library found: it is too old");
}

#define FIND(name) Find(library, #name, f.name)

static Cuda OpenCuda() {
    void* library = Open("libcuda.so.1");
    Cuda f;
    FIND(cuInit);
    FIND(cuDeviceGet);
    FIND(cuDeviceGetUuid_v2);
    FIND(cuDevicePrimaryCtxRetain);
    FIND(cuCtxPushCurrent_v2);
    FIND(cuCtxPopCurrent_v2);
    FIND(cuCtxGetStreamPriorityRange);
    FIND(cuStreamCreateWithPriority);
    FIND(cuStreamDestroy_v2);
    FIND(cuStreamQuery);
    FIND(cuStreamWaitEvent);
    FIND(cuLaunchHostFunc);
    FIND(cuEventCreate);
    FIND(cuEventRecord);
    FIND(cuEventQuery);
    FIND(cuEventDestroy_v2);
    FIND(cuMemAlloc_v2);
    FIND(cuMemFree_v2);
    FIND(cuGetErrorString);
    return f;
}

// Since 2.22 NCCL connects to peers when an algorithm is first used, in the middle of training and with the caller
// waiting: whoever calls it here is JavaScript's thread. With NCCL_RUNTIME_CONNECT=0 it does so while ranks join.
static Nccl OpenNccl() {
    setenv("NCCL_RUNTIME_CONNECT", "0", /*overwrite=*/0);
    void* library = Open("libnccl.so.2");
    Nccl f;
    FIND(ncclGetVersion);
    FIND(ncclGetUniqueId);
    FIND(ncclCommInitRank);
    FIND(ncclCommSplit);
    FIND(ncclCommDestroy);
    FIND(ncclCommAbort);
    FIND(ncclCommCount);
    FIND(ncclCommUserRank);
    FIND(ncclCommGetAsyncError);
    FIND(ncclGetErrorString);
    FIND(ncclGetLastError);
    FIND(ncclAllReduce);
    FIND(ncclAllGather);
    FIND(ncclReduceScatter);
    FIND(ncclBroadcast);
    FIND(ncclSend);
    FIND(ncclRecv);
    FIND(ncclGroupStart);
    FIND(ncclGroupEnd);
    return f;
}

const Cuda& cuda() {
    static const Cuda functions = OpenCuda();
    return functions;
}

const Nccl& nccl() {
    static const Nccl functions = OpenNccl();
    return functions;
}

void Check(const char* what, CUresult result) {
    if (result == 0) return;
    const char* words = nullptr;
    cuda().cuGetErrorString(result, &words);
    const std::string code = "error " + std::to_string(result);
    throw Error(std::string("CUDA says of ") + what + ": " + (words == nullptr ? code : words));
}

CUcontext PrimaryContext() {
    static const CUcontext context = [] {
        CUdevice device;
        CUcontext retained;
        Check("cuInit", cuda().cuInit(0));
        Check("cuDeviceGet", cuda().cuDeviceGet(&device, 0));
        Check("cuDevicePrimaryCtxRetain", cuda().cuDevicePrimaryCtxRetain(&retained, device));
        return retained;
    }();
    return context;
}

std::string WordsOf(ncclResult_t result, ncclComm_t comm) {
    const std::string last = nccl().ncclGetLastError(comm);
    return nccl().ncclGetErrorString(result) + (last.empty() ? "" : " (" + last + ")");
}

void Check(const char* what, ncclResult_t result, ncclComm_t comm) {
    if (result != ncclSuccess) throw Error(std::string("NCCL says of ") + what + ": " + WordsOf(result, comm));
}

}  // namespace fourfold::nccl
