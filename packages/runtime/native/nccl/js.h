/** What is passed between JavaScript and C++: arguments, results, errors, and promises that another thread keeps. */
#pragma once
#include <node_api.h>
#include <string.h>

#include <functional>
#include <string>
#include <thread>

#include "nccl.h"

namespace fourfold::nccl {

// ## Arguments and results

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
    std::string Text(int i) const {
        char text[1024] = "";
        size_t length = 0;
        const napi_status status = napi_get_value_string_utf8(env, at[i], text, sizeof text, &length);
        if (status != napi_ok) throw Error("a text is needed");
        return std::string(text, length);
    }
    ncclUniqueId Id(int i) const {
        ncclUniqueId id;
        void* data = nullptr;
        size_t length = 0;
        const bool ok = napi_get_buffer_info(env, at[i], &data, &length) == napi_ok && length == sizeof id;
        if (!ok) throw Error("128 bytes are needed");
        memcpy(&id, data, sizeof id);
        return id;
    }
};

inline napi_value TextOf(napi_env env, const std::string& text) {
    napi_value value;
    napi_create_string_utf8(env, text.data(), text.size(), &value);
    return value;
}

inline napi_value BytesOf(napi_env env, const void* data, size_t length) {
    napi_value value;
    napi_create_buffer_copy(env, length, data, nullptr, &value);
    return value;
}

/** A function of JavaScript's; an Error that `body` throws is thrown there. */
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

// ## Promises

/** A promise that another thread settles. */
struct Job {
    napi_deferred deferred;
    napi_threadsafe_function settle;
    int result = 0;
    std::string error;
};

inline void Settle(napi_env env, napi_value, void*, void* data) {
    Job* job = static_cast<Job*>(data);
    if (env != nullptr) {  // null when Node is going down
        napi_value value;
        if (job->error.empty()) {
            napi_create_int32(env, job->result, &value);
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
    napi_create_threadsafe_function(env, nullptr, nullptr, TextOf(env, "nccl"), 0, 1, nullptr, nullptr, nullptr, Settle,
                                    &job->settle);
    return job;
}

inline void Done(void* job) {
    napi_call_threadsafe_function(static_cast<Job*>(job)->settle, job, napi_tsfn_blocking);
}

/** A promise of what `work` returns, which runs in a thread of its own. */
inline napi_value InThread(napi_env env, std::function<int()> work) {
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

}  // namespace fourfold::nccl
