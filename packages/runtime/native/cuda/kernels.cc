/** Compiles, keeps and launches kernels. */
#include "kernels.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>

#include "xla/stream_executor/stream.h"

namespace fourfold::cuda {

using tensorflow::OpKernelContext;

/** Both set once, before the first kernel. */
static std::string sources_folder, cache_folder;

void Configure(const std::string& sources, const std::string& cache) {
    sources_folder = sources;
    cache_folder = cache;
}

const std::string& CacheFolder() {
    std::filesystem::create_directories(cache_folder);
    return cache_folder;
}

std::string Constant(const char* name, int64_t value) {
    return std::string("constexpr int ") + name + " = " + std::to_string(value) + ";";
}

std::string Type(const char* name, tensorflow::DataType type) {
    return std::string("using ") + name + " = " + (type == tensorflow::DT_BFLOAT16 ? "bfloat16" : "float") + ";";
}

// ## Compiling

/** A file's text. */
static std::string TextOf(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw Error(path + " can't be read");
    return std::string(std::istreambuf_iterator<char>(file), {});
}

/** The compiler's words, with lines of the .cu file. */
static std::string LogOf(nvrtcProgram program) {
    size_t bytes = 0;
    CheckCode("nvrtcGetProgramLogSize", nvrtc().nvrtcGetProgramLogSize(program, &bytes));
    std::string log(bytes, '\0');
    CheckCode("nvrtcGetProgramLog", nvrtc().nvrtcGetProgramLog(program, log.data()));
    return log;
}

/** The compiled program. */
static std::string CubinOf(nvrtcProgram program) {
    size_t bytes = 0;
    CheckCode("nvrtcGetCUBINSize", nvrtc().nvrtcGetCUBINSize(program, &bytes));
    std::string cubin(bytes, '\0');
    CheckCode("nvrtcGetCUBIN", nvrtc().nvrtcGetCUBIN(program, cubin.data()));
    return cubin;
}

/** The file behind the given lines; #line makes errors count from the file's own first line. */
std::string Compile(const std::string& file, const Given& given, const std::string& arch) {
    std::string source = "#include \"types.cuh\"\n";
    for (const std::string& line : given) source += line + "\n";
    source += "#line 1\n" + TextOf(sources_folder + "/" + file);
    const std::string options[] = {"--gpu-architecture=" + arch, "--std=c++17", "-I" + sources_folder};
    const char* words[] = {options[0].c_str(), options[1].c_str(), options[2].c_str()};
    nvrtcProgram program;
    CheckCode("nvrtcCreateProgram",
              nvrtc().nvrtcCreateProgram(&program, source.c_str(), file.c_str(), 0, nullptr, nullptr));
    const int result = nvrtc().nvrtcCompileProgram(program, 3, words);
    const std::string made = result == 0 ? CubinOf(program) : LogOf(program);
    nvrtc().nvrtcDestroyProgram(&program);
    if (result != 0) throw Error(file + " does not compile: " + made);
    return made;
}

std::string Architecture() {
    int major = 0, minor = 0;
    const auto attribute = driver().cuDeviceGetAttribute;
    Check("cuDeviceGetAttribute", attribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, Device()));
    Check("cuDeviceGetAttribute", attribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, Device()));
    return "sm_" + std::to_string(10 * major + minor);
}

// ## The cache

/** A name for all that decides what the compiler makes: the file, all that it may include, and how it is compiled. */
static std::string KeyOf(const std::string& file, const Given& given, const std::string& arch) {
    int major = 0, minor = 0;
    CheckCode("nvrtcVersion", nvrtc().nvrtcVersion(&major, &minor));
    std::string all = arch + " " + std::to_string(major) + "." + std::to_string(minor);
    for (const std::string& line : given) all += line;
    for (const char* included : {file.c_str(), "types.cuh", "packed.cuh", "../ops/stochastic-rounding.h"})
        all += TextOf(sources_folder + "/" + included);
    char key[17];
    snprintf(key, sizeof key, "%016llx", static_cast<unsigned long long>(std::hash<std::string>{}(all)));
    return std::filesystem::path(file).stem().string() + "-" + key + ".cubin";
}

/** The compiled program, from the cache folder where it is there. Written beside and renamed: ranks do so at once. */
static std::string Program(const std::string& file, const Given& given) {
    const std::string arch = Architecture();
    const std::string path = CacheFolder() + "/" + KeyOf(file, given, arch);
    if (std::filesystem::exists(path)) return TextOf(path);
    const std::string cubin = Compile(file, given, arch), written = path + "." + std::to_string(getpid());
    std::ofstream(written, std::ios::binary) << cubin;
    std::filesystem::rename(written, path);
    return cubin;
}

/** A program in the GPU's memory. */
static CUmodule Load(const std::string& cubin) {
    CUmodule module;
    Check("cuModuleLoadData", driver().cuModuleLoadData(&module, cubin.data()));
    return module;
}

/** Programs are loaded once each, and found by their file and what they are compiled for. */
CUfunction Find(const std::string& file, const char* kernel, const Given& given) {
    static std::mutex mutex;
    static std::map<std::string, CUmodule> modules;
    std::lock_guard<std::mutex> lock(mutex);
    std::string key = file;
    for (const std::string& line : given) key += line;
    if (modules.count(key) == 0) modules[key] = Load(Program(file, given));
    CUfunction function;
    Check(kernel, driver().cuModuleGetFunction(&function, modules[key], kernel));
    return function;
}

// ## Launching

/** Of the op that ran last. */
static CUstream compute_stream = nullptr;
static tensorflow::Allocator* compute_allocator = nullptr;

CUstream StreamOf(OpKernelContext* ctx) {
    compute_stream = ctx->op_device_context()->stream()->platform_specific_handle().stream;
    compute_allocator = ctx->device()->GetAllocator(tensorflow::AllocatorAttributes());
    return compute_stream;
}

CUstream ComputeStream() { return compute_stream; }

tensorflow::Allocator* ComputeAllocator() { return compute_allocator; }

/** Enqueues on TensorFlow's stream, behind what its own kernels do; nobody waits. */
void LaunchArguments(OpKernelContext* ctx, CUfunction kernel, Grid grid, int threads, void** arguments) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;  // nothing to do, which CUDA calls an error
    const auto launch = driver().cuLaunchKernel;
    Check("cuLaunchKernel",
          launch(kernel, grid.x, grid.y, grid.z, threads, 1, 1, 0, StreamOf(ctx), arguments, nullptr));
}

}  // namespace fourfold::cuda
