/**
 * What the tensor backend needs from C++ beyond tfjs-node's binding. Needs no header but Node's own.
 *
 *   loadLibraries(paths, severity)   opens shared libraries, in this order and before tfjs-node's binding asks for
 *                                    them: so TensorFlow finds CUDA libraries that lie outside the system's folders,
 *                                    and logs nothing below `severity` (0 info, 1 warning, 2 error, 3 fatal).
 *
 * TensorFlow prints lines while its libraries load, before any of its settings can reach it (TF_CPP_MIN_LOG_LEVEL comes
 * too late for these). Where `severity` is above 0, stderr is therefore closed during that second; an error that
 * loading returns is thrown as usual.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <node_api.h>
#include <stdio.h>
#include <unistd.h>

#include <string>

// abseil's SetMinLogLevel as TensorFlow 2.21 exports it, by its symbol since nothing of TensorFlow is linked here.
static const char* const kSetMinLogLevel = "_ZN4absl12lts_2025081414SetMinLogLevelENS0_18LogSeverityAtLeastE";

// Points stderr at /dev/null for as long as it lives.
class QuietStderr {
  public:
    explicit QuietStderr(bool quiet) {
        if (!quiet) return;
        fflush(stderr);
        saved_ = dup(STDERR_FILENO);
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        close(null);
    }
    ~QuietStderr() {
        if (saved_ < 0) return;
        fflush(stderr);
        dup2(saved_, STDERR_FILENO);
        close(saved_);
    }

  private:
    int saved_ = -1;
};

// Opens one library for all that is loaded after it; returns what went wrong, or an empty string.
static std::string Open(const std::string& path) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    return library == nullptr ? std::string(dlerror()) : std::string();
}

static void SetMinLogLevel(int severity) {
    auto set = reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, kSetMinLogLevel));
    if (set != nullptr) set(severity);
}

static std::string StringAt(napi_env env, napi_value array, uint32_t index) {
    napi_value element;
    char text[4096] = "";
    size_t length = 0;
    napi_get_element(env, array, index, &element);
    napi_get_value_string_utf8(env, element, text, sizeof text, &length);
    return std::string(text, length);
}

static napi_value LoadLibraries(napi_env env, napi_callback_info info) {
    size_t count = 2;
    napi_value arguments[2];
    uint32_t paths = 0;
    int32_t severity = 0;
    napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
    if (count < 2 || napi_get_array_length(env, arguments[0], &paths) != napi_ok ||
        napi_get_value_int32(env, arguments[1], &severity) != napi_ok || severity < 0 || severity > 3) {
        napi_throw_type_error(env, nullptr, "loadLibraries takes an array of paths and a severity from 0 to 3");
        return nullptr;
    }
    std::string error;
    {
        QuietStderr quiet(severity > 0);
        for (uint32_t i = 0; i < paths && error.empty(); i++) error = Open(StringAt(env, arguments[0], i));
        SetMinLogLevel(severity);
    }
    if (!error.empty()) napi_throw_error(env, nullptr, error.c_str());
    return nullptr;
}

NAPI_MODULE_INIT() {
    napi_value function;
    napi_create_function(env, "loadLibraries", NAPI_AUTO_LENGTH, LoadLibraries, nullptr, &function);
    napi_set_named_property(env, exports, "loadLibraries", function);
    return exports;
}
