/**
 * CUDA kernels, compiled from the .cu files of this folder by NVIDIA's run-time compiler when they are first used.
 *
 *     CUfunction norm = Find("rms-norm.cu", "rms_norm", {Type("T", x.dtype()), Constant("D", 2048)});
 *     Launch(ctx, norm, {rows}, 256, x, w, epsilon, rows, y, r);
 *
 * So nothing of CUDA is needed to build this, a kernel is made for the GPU at hand, and a size that a run never changes
 * is a constant in it: loops over it unroll. What was compiled is kept in the cache folder under a hash of the sources,
 * what it was compiled for, the GPU's kind and the compiler's version: edit a .cu file, start again, and it's compiled
 * anew.
 */
#pragma once
#include <string>
#include <vector>

#include "libraries.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace fourfold::cuda {

/** Where the .cu files are, and where to keep what is compiled of them. Called once, before the first kernel. */
void Configure(const std::string& sources, const std::string& cache);

/** The folder; made where it isn't there. */
const std::string& CacheFolder();

/** "sm_90" of the GPU at hand. */
std::string Architecture();

/** What a file is compiled for, each a line of C++ before its first: "constexpr int D = 2048;", "using T = float;". */
using Given = std::vector<std::string>;
std::string Constant(const char* name, int64_t value);
std::string Type(const char* name, tensorflow::DataType);

/** A compiled program. Throws Error with the compiler's words where the source is wrong. `arch`: "sm_90". */
std::string Compile(const std::string& file, const Given& given, const std::string& arch);

/** A kernel of a file, from memory, from the cache, or newly compiled. */
CUfunction Find(const std::string& file, const char* kernel, const Given& given);

/** How many blocks, in each direction. */
struct Grid {
    int64_t x = 1, y = 1, z = 1;
};

/** TensorFlow's compute stream, on which all kernels follow one another. */
CUstream StreamOf(tensorflow::OpKernelContext* ctx);

/** The stream and the memory of the op that ran last, for who looks from outside; null before the first. */
CUstream ComputeStream();
tensorflow::Allocator* ComputeAllocator();

/** The same for arguments given by their addresses. */
void LaunchArguments(tensorflow::OpKernelContext* ctx, CUfunction kernel, Grid grid, int threads, void** arguments);

/** Enqueues a kernel. The arguments must have the very types that it declares: pointers, int, int64_t, float. */
template <class... Arguments>
void Launch(tensorflow::OpKernelContext* ctx, CUfunction kernel, Grid grid, int threads, Arguments... arguments) {
    void* pointers[] = {&arguments...};
    LaunchArguments(ctx, kernel, grid, threads, pointers);
}

}  // namespace fourfold::cuda
