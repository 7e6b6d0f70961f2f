/**
 * NVIDIA's libraries, opened when they are first asked for, and what is wrong with them as an Error.
 *
 *     struct Driver { int (*cuInit)(unsigned flags); };      functions that are used, under NVIDIA's names
 *     void* library = Open({"libcuda.so.1"});
 *     Driver f;
 *     FIND(cuInit);                                           f.cuInit is the library's
 *
 * So their headers are not needed to compile this, nor the libraries to link it. Handles are plain pointers.
 */
#pragma once
#include <dlfcn.h>

#include <initializer_list>
#include <stdexcept>
#include <string>

namespace fourfold::gpu {

/** What a library says went wrong, in its own words. Thrown inside a module only; its edges turn it around. */
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/** The first of these files that can be opened; throws what was wrong with the first. */
inline void* Open(std::initializer_list<const char*> files) {
    std::string why;
    for (const char* file : files) {
        void* library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
        if (library != nullptr) return library;
        if (why.empty()) why = std::string(file) + " can't be opened: " + dlerror();
    }
    throw Error(why);
}

template <class Function>
void Find(void* library, const char* name, Function*& function) {
    function = reinterpret_cast<Function*>(dlsym(library, name));
    if (function == nullptr) throw Error(std::string(name) + " is not in the library found: it is too old");
}

#define FIND(name) ::fourfold::gpu::Find(library, #name, f.name)

}  // namespace fourfold::gpu
