/**
 * The libraries beside the driver (../gpu/driver.h) that the ops ask: NVIDIA's run-time compiler and cuBLASLt.
 *
 * The few types and functions that are used stand here, under the names that NVIDIA's documentation gives them (CUDA 12
 * and 13).
 */
#pragma once
#include <cstddef>
#include <cstdint>

#include "../gpu/driver.h"

namespace fourfold::cuda {

using namespace gpu;

// ## The run-time compiler (libnvrtc.so.12 or .13)

using nvrtcProgram = void*;

/** The functions that are used, as nvrtc.h declares them. */
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

/** Opened at the first call. */
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

/** Numbers of NVIDIA's headers, which need not be there. */
constexpr int CUDA_R_32F = 0, CUDA_R_16BF = 14;
constexpr int CUBLAS_COMPUTE_32F = 68;
constexpr int CUBLAS_OP_N = 0, CUBLAS_OP_T = 1;
constexpr int CUBLASLT_MATMUL_DESC_TRANSA = 3, CUBLASLT_MATMUL_DESC_TRANSB = 4;
constexpr int CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1;

/** The functions that are used, as cublasLt.h declares them. */
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

/** Opened at the first call. */
const CublasLt& cublasLt();

// ## Results

/** Throws Error for any result but success, which is 0. The driver's results have Check. */
void CheckCode(const char* call, int result);

/** How many multiprocessors the GPU has. */
int Multiprocessors();

}  // namespace fourfold::cuda
