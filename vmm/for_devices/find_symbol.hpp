// Functions of a library that is loaded while the program runs.
#pragma once

#include <dlfcn.h>

#include <cstring>

namespace pinfold::vmm {

/// Takes the function of this name from a library that dlopen() gave, or from one that it needs. False: it is
/// not there, and dlerror() says so; then `to` is null.
template <class Function>
[[nodiscard]] bool find_symbol(void* library, const char* name, Function& to) {
  void* symbol = ::dlsym(library, name);
  // POSIX requires that a pointer to an object can hold one to a function (dlsym).
  std::memcpy(&to, &symbol, sizeof to);
  return symbol != nullptr;
}

}  // namespace pinfold::vmm
