/** Opens the two libraries. */
#include "libraries.h"

namespace fourfold::cuda {

/** The run-time compiler's functions, by name. */
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

/** cuBLASLt's, likewise. */
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

const Nvrtc& nvrtc() {
    static const Nvrtc functions = OpenNvrtc();
    return functions;
}

const CublasLt& cublasLt() {
    static const CublasLt functions = OpenCublasLt();
    return functions;
}

void CheckCode(const char* call, int result) {
    if (result != 0) throw Error(std::string(call) + " fails with code " + std::to_string(result));
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

}  // namespace fourfold::cuda
