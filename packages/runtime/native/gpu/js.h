/** What is passed between JavaScript and C++: arguments, results, errors, and promises that another thread keeps. */
#pragma once
#include <node_api.h>
#include <string.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "library.h"

namespace fourfold::gpu {

// ## Arguments

/** A call from JavaScript. */
struct Arguments {
    napi_env env;
    napi_value at[4];

    int Int(int i) const {
        int32_t value = 0;
        if (napi_get_value_int32(env, at[i], &value) != napi_ok) throw Error("a whole number is needed");
        return value;
    }
    double Number(int i) const {
        double value = 0;
        if (napi_get_value_double(env, at[i], &value) != napi_ok) throw Error("a number is needed");
        return value;
    }
    bool Bool(int i) const {
        bool value = false;
        if (napi_get_value_bool(env, at[i], &value) != napi_ok) throw Error("true or false is needed");
        return value;
    }
    std::string Text(int i) const { return TextIn(at[i]); }

    std::vector<std::string> Texts(int i) const {
        uint32_t length = 0;
        if (napi_get_array_length(env, at[i], &length) != napi_ok) throw Error("a list of texts is needed");
        std::vector<std::string> texts;
        for (uint32_t j = 0; j < length; j++) {
            napi_value element;
            napi_get_element(env, at[i], j, &element);
            texts.push_back(TextIn(element));
        }
        return texts;
    }
    /** A copy of exactly `size` bytes. */
    void Bytes(int i, void* to, size_t size) const {
        void* data = nullptr;
        size_t length = 0;
        const bool ok = napi_get_buffer_info(env, at[i], &data, &length) == napi_ok && length == size;
        if (!ok) throw Error(std::to_string(size) + " bytes are needed");
        memcpy(to, data, size);
    }

  private:
    std::string TextIn(napi_value value) const {
        size_t length = 0;
        const bool ok = napi_get_value_string_utf8(env, value, nullptr, 0, &length) == napi_ok;
        if (!ok) throw Error("a text is needed");
        std::string text(length, '\0');
        napi_get_value_string_utf8(env, value, text.data(), length + 1, &length);
        return text;
    }
};

// ## Results

inline napi_value TextOf(napi_env env, const std::string& text) {
    napi_value value;
    napi_create_string_utf8(env, text.data(), text.size(), &value);
    return value;
}

inline napi_value NumberOf(napi_env env, double number) {
    napi_value value;
    napi_create_double(env, number, &value);
    return value;
}

inline napi_value NumbersOf(napi_env env, const std::vector<double>& numbers) {
    napi_value list;
    napi_create_array_with_length(env, numbers.size(), &list);
    for (size_t i = 0; i < numbers.size(); i++) napi_set_element(env, list, i, NumberOf(env, numbers[i]));
    return list;
}

inline napi_value BytesOf(napi_env env, const void* data, size_t length) {
    napi_value value;
    napi_create_buffer_copy(env, length, data, nullptr, &value);
    return value;
}

/** A function of JavaScript's with up to four arguments; an Error that `body` throws is thrown there. */
template <napi_value (*body)(const Arguments&)>
napi_value Function(napi_env env, napi_callback_info info) {
    Arguments arguments{env, {}};
    size_t count = 4;
    napi_get_cb_info(env, info, &count, arguments.at, nullptr, nullptr);
    try {
        return body(arguments);
    } catch (const Error& error) {
        napi_throw_error(env, nullptr, error.what());
        return nullptr;
    }
}

/** Gives the module a function: `Export<Version>(env, exports, "version")`. */
template <napi_value (*body)(const Arguments&)>
void Export(napi_env env, napi_value exports, const char* name) {
    napi_value function;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, Function<body>, nullptr, &function);
    napi_set_named_property(env, exports, name, function);
}

// ## Promises

/** What another thread has found, made into a value in JavaScript's own; empty for undefined. */
using Result = std::function<napi_value(napi_env)>;

inline Result Number(double number) {
    return [number](napi_env env) { return NumberOf(env, number); };
}

/** A promise that another thread settles. */
struct Job {
    napi_deferred deferred;
    napi_threadsafe_function settle;
    Result result;
    std::string error;
};

inline void Settle(napi_env env, napi_value, void*, void* data) {
    Job* job = static_cast<Job*>(data);
    if (env != nullptr) {  // null when Node is going down
        napi_value value;
        if (job->error.empty()) {
            if (job->result) value = job->result(env);
            else napi_get_undefined(env, &value);
            napi_resolve_deferred(env, job->deferred, value);
        } else {
            napi_create_error(env, nullptr, TextOf(env, job->error), &value);
            napi_reject_deferred(env, job->deferred, value);
        }
        napi_release_threadsafe_function(job->settle, napi_tsfn_release);
    }
    delete job;
}

inline Job* NewJob(napi_env env, napi_value* promise) {
    Job* job = new Job;
    napi_create_promise(env, &job->deferred, promise);
    napi_create_threadsafe_function(env, nullptr, nullptr, TextOf(env, "fourfold"), 0, 1, nullptr, nullptr, nullptr,
                                    Settle, &job->settle);
    return job;
}

inline void Done(void* job) {
    napi_call_threadsafe_function(static_cast<Job*>(job)->settle, job, napi_tsfn_blocking);
}

/** A promise of what `work` returns, which runs in a thread of its own. */
inline napi_value InThread(napi_env env, std::function<Result()> work) {
    napi_value promise;
    Job* job = NewJob(env, &promise);
    std::thread([job, work] {
        try {
            job->result = work();
        } catch (const Error& error) {
            job->error = error.what();
        }
        Done(job);
    }).detach();
    return promise;
}

}  // namespace fourfold::gpu
