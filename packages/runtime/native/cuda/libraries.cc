/** Opens the libraries and turns their error codes into words. */
#include "libraries.h"

#include <dlfcn.h>

#include <initializer_list>

namespace fourfold::cuda {

/** The first of these files that can be opened; throws what was wrong with the first. */
static void* Open(std::initializer_list<const char*> files) {
    std::string why;
    for (const char* file : files) {
        void* library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
        if (library != nullptr) return library;
        if (why.empty()) why = std::string(file) + " can't be opened: " + dlerror();
    }
    throw Error(why);
}

template <class Function>
static void Find(void* library, const char* name, Function*& function) {
    function = reinterpret_cast<Function*>(dlsym(library, name));
    if (function == nullptr) throw Error(std::string(name) + " is not in the library found: it is too old");
}

#define FIND(name) Find(library, #name, f.name)

static Driver OpenDriver() {
    void* library = Open({"libcuda.so.1"});
    Driver f;
    FIND(cuInit);
    FIND(cuDeviceGet);
    FIND(cuDeviceGetAttribute);
    FIND(cuDevicePrimaryCtxRetain);
    FIND(cuCtxPushCurrent_v2);
    FIND(cuCtxPopCurrent_v2);
    FIND(cuModuleLoadData);
    FIND(cuModuleGetFunction);
    FIND(cuLaunchKernel);
    FIND(cuMemAllocHost_v2);
    FIND(cuMemFreeHost);
    FIND(cuMemcpyHtoDAsync_v2);
    FIND(cuMemcpyDtoHAsync_v2);
    FIND(cuEventCreate);
    FIND(cuEventRecord);
    FIND(cuEventQuery);
    FIND(cuEventSynchronize);
    FIND(cuEventElapsedTime);
    FIND(cuEventDestroy_v2);
    FIND(cuGetErrorString);
    return f;
}

static Nvrtc OpenNvrtc() {
    void* library = Open({"libnvrtc.so.12", "libnvrtc.so.13"});
    Nvrtc f;
    FIND(nvrtcVersion);
    FIND(nvrtcCreateProgram);
    FIND(nvrtcCompileProgram);
    FIND(nvrtcGetCUBINSize);
    FIND(nvrtcGetCUBIN);
    FIND(nvrtcGetProgramLogSize);
    FIND(nvrtcGetProgramLog);
    FIND(nvrtcDestroyProgram);
    return f;
}

static CublasLt OpenCublasLt() {
    void* library = Open({"libcublasLt.so.12", "libcublasLt.so.13"});
    CublasLt f;
    FIND(cublasLtGetVersion);
    FIND(cublasLtCreate);
    FIND(cublasLtMatmulDescCreate);
    FIND(cublasLtMatmulDescSetAttribute);
    FIND(cublasLtMatrixLayoutCreate);
    FIND(cublasLtMatmulPreferenceCreate);
    FIND(cublasLtMatmulPreferenceDestroy);
    FIND(cublasLtMatmulPreferenceSetAttribute);
    FIND(cublasLtMatmulAlgoGetHeuristic);
    FIND(cublasLtMatmul);
    return f;
}

const Driver& driver() {
    static const Driver functions = OpenDriver();
    return functions;
}

const Nvrtc& nvrtc() {
    static const Nvrtc functions = OpenNvrtc();
    return functions;
}

const CublasLt& cublasLt() {
    static const CublasLt functions = OpenCublasLt();
    return functions;
}

void Check(const char* call, CUresult result) {
    if (result == 0) return;
    const char* words = nullptr;
    driver().cuGetErrorString(result, &words);
    const std::string code = "error " + std::to_string(result);
    throw Error(std::string("CUDA says of ") + call + ": " + (words == nullptr ? code : words));
}

void CheckCode(const char* call, int result) {
    if (result != 0) throw Error(std::string(call) + " fails with code " + std::to_string(result));
}

CUdevice Device() {
    static const CUdevice device = [] {
        CUdevice first;
        Check("cuInit", driver().cuInit(0));
        Check("cuDeviceGet", driver().cuDeviceGet(&first, 0));
        return first;
    }();
    return device;
}

int Multiprocessors() {
    static const int count = [] {
        int number = 0;
        Check("cuDeviceGetAttribute",
              driver().cuDeviceGetAttribute(&number, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, Device()));
        return number;
    }();
    return count;
}

static CUcontext PrimaryContext() {
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

Event::Event() { Check("cuEventCreate", driver().cuEventCreate(&event_, CU_EVENT_DEFAULT)); }

Event::~Event() { driver().cuEventDestroy_v2(event_); }

void Event::Record(CUstream stream) const { Check("cuEventRecord", driver().cuEventRecord(event_, stream)); }

float Event::After(const Event& start) const {
    float milliseconds = 0;
    Check("cuEventSynchronize", driver().cuEventSynchronize(event_));
    Check("cuEventElapsedTime", driver().cuEventElapsedTime(&milliseconds, start.event_, event_));
    return milliseconds;
}

}  // namespace fourfold::cuda
