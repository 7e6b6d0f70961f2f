/**
 * NVIDIA's libraries, opened when they are first asked for: the driver, the run-time compiler and cuBLASLt.
 *
 * Their headers are not needed to compile this: the few types and functions that are used stand here, under the names
 * that NVIDIA's documentation gives them (CUDA 12 and 13). Handles are plain pointers.
 */
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace fourfold::cuda {

/** What a library says went wrong, in its own words. Thrown inside this module only; its edges turn it around. */
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// ## The driver (libcuda.so.1)

using CUdevice = int;
using CUcontext = void*;
using CUstream = void*;
using CUevent = void*;
using CUmodule = void*;
using CUfunction = void*;
using CUresult = int;
using CUdeviceptr = unsigned long long;

constexpr unsigned CU_EVENT_DEFAULT = 0;
constexpr int CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16;
constexpr int CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76;

/** Functions of the driver. `_v2` is the binary name of what cuda.h calls by the name before it. */
struct Driver {
    CUresult (*cuInit)(unsigned flags);
    CUresult (*cuDeviceGet)(CUdevice*, int ordinal);
    CUresult (*cuDeviceGetAttribute)(int*, int attribute, CUdevice);
    CUresult (*cuDevicePrimaryCtxRetain)(CUcontext*, CUdevice);
    CUresult (*cuCtxPushCurrent_v2)(CUcontext);
    CUresult (*cuCtxPopCurrent_v2)(CUcontext*);
    CUresult (*cuModuleLoadData)(CUmodule*, const void* image);
    CUresult (*cuModuleGetFunction)(CUfunction*, CUmodule, const char* name);
    CUresult (*cuLaunchKernel)(CUfunction, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,
                               unsigned blockY, unsigned blockZ, unsigned sharedBytes, CUstream, void** arguments,
                               void** extra);
    CUresult (*cuMemAllocHost_v2)(void**, size_t bytes);
    CUresult (*cuMemFreeHost)(void*);
    CUresult (*cuMemcpyHtoDAsync_v2)(CUdeviceptr, const void*, size_t bytes, CUstream);
    CUresult (*cuMemcpyDtoHAsync_v2)(void*, CUdeviceptr, size_t bytes, CUstream);
    CUresult (*cuEventCreate)(CUevent*, unsigned flags);
    CUresult (*cuEventRecord)(CUevent, CUstream);
    CUresult (*cuEventQuery)(CUevent);
    CUresult (*cuEventSynchronize)(CUevent);
    CUresult (*cuEventElapsedTime)(float* milliseconds, CUevent, CUevent);
    CUresult (*cuEventDestroy_v2)(CUevent);
    CUresult (*cuGetErrorString)(CUresult, const char**);
};

/** The driver; throws Error where the machine has none. */
const Driver& driver();

/** The first GPU that this process sees, which is TensorFlow's. */
CUdevice Device();

/** How many multiprocessors it has. */
int Multiprocessors();

/** Makes TensorFlow's context, the device's primary one, this thread's for as long as it lives. */
class InContext {
  public:
    InContext();
    ~InContext();
    InContext(const InContext&) = delete;
};

/** A place in a stream, whose time the GPU writes down. */
class Event {
  public:
    Event();
    ~Event();
    Event(const Event&) = delete;
    void Record(CUstream stream) const;
    /** Milliseconds since `start`. Waits until the GPU has come here. */
    float After(const Event& start) const;

  private:
    CUevent event_ = nullptr;
};

// ## The run-time compiler (libnvrtc.so.12 or .13)

using nvrtcProgram = void*;

struct Nvrtc {
    int (*nvrtcVersion)(int* major, int* minor);
    int (*nvrtcCreateProgram)(nvrtcProgram*, const char* source, const char* name, int headers, const char* const*,
                              const char* const*);
    int (*nvrtcCompileProgram)(nvrtcProgram, int options, const char* const*);
    int (*nvrtcGetCUBINSize)(nvrtcProgram, size_t*);
    int (*nvrtcGetCUBIN)(nvrtcProgram, char*);
    int (*nvrtcGetProgramLogSize)(nvrtcProgram, size_t*);
    int (*nvrtcGetProgramLog)(nvrtcProgram, char*);
    int (*nvrtcDestroyProgram)(nvrtcProgram*);
};

const Nvrtc& nvrtc();

// ## Products (libcublasLt.so.12 or .13)

using cublasLtHandle = void*;
using cublasLtDesc = void*;    // cublasLtMatmulDesc_t
using cublasLtLayout = void*;  // cublasLtMatrixLayout_t
using cublasLtPreference = void*;

/** cublasLtMatmulAlgo_t: opaque. */
struct cublasLtAlgo {
    uint64_t data[8];
};
/** cublasLtMatmulHeuristicResult_t. */
struct cublasLtHeuristic {
    cublasLtAlgo algo;
    size_t workspaceBytes;
    int status;
    float waves;
    int reserved[4];
};

constexpr int CUDA_R_32F = 0, CUDA_R_16BF = 14;
constexpr int CUBLAS_COMPUTE_32F = 68;
constexpr int CUBLAS_OP_N = 0, CUBLAS_OP_T = 1;
constexpr int CUBLASLT_MATMUL_DESC_TRANSA = 3, CUBLASLT_MATMUL_DESC_TRANSB = 4;
constexpr int CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1;

struct CublasLt {
    size_t (*cublasLtGetVersion)();
    int (*cublasLtCreate)(cublasLtHandle*);
    int (*cublasLtMatmulDescCreate)(cublasLtDesc*, int computeType, int scaleType);
    int (*cublasLtMatmulDescSetAttribute)(cublasLtDesc, int attribute, const void*, size_t bytes);
    int (*cublasLtMatrixLayoutCreate)(cublasLtLayout*, int type, uint64_t rows, uint64_t columns, int64_t stride);
    int (*cublasLtMatmulPreferenceCreate)(cublasLtPreference*);
    int (*cublasLtMatmulPreferenceDestroy)(cublasLtPreference);
    int (*cublasLtMatmulPreferenceSetAttribute)(cublasLtPreference, int attribute, const void*, size_t bytes);
    int (*cublasLtMatmulAlgoGetHeuristic)(cublasLtHandle, cublasLtDesc, cublasLtLayout a, cublasLtLayout b,
                                          cublasLtLayout c, cublasLtLayout d, cublasLtPreference, int most,
                                          cublasLtHeuristic*, int* found);
    int (*cublasLtMatmul)(cublasLtHandle, cublasLtDesc, const void* alpha, const void* a, cublasLtLayout,
                          const void* b, cublasLtLayout, const void* beta, const void* c, cublasLtLayout, void* d,
                          cublasLtLayout, const cublasLtAlgo*, void* workspace, size_t workspaceBytes, CUstream);
};

const CublasLt& cublasLt();

// ## Results

/** Throws Error for any result but success. */
void Check(const char* call, CUresult);

/** The same for the other libraries, whose results are numbers: 0 is success. */
void CheckCode(const char* call, int result);

}  // namespace fourfold::cuda
