#include "cli/metrics/http_library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstring>

namespace pinfold::cli::metrics {
namespace {

/// The same in Debian 12 and 13, whose packages are called differently.
constexpr const char* library_name = "libmicrohttpd.so.12";

template <class Function>
bool find(void* handle, const char* name, Function& to) {
  void* symbol = ::dlsym(handle, name);
  // POSIX requires that a pointer to an object can hold one to a function (dlsym).
  std::memcpy(&to, &symbol, sizeof to);
  return symbol != nullptr;
}

}  // namespace

tl::expected<HttpLibrary, std::string> HttpLibrary::load() {
  void* handle = ::dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr)
    return tl::unexpected(
        fmt::format("--listen takes {} (Debian has it in the package libmicrohttpd12, or libmicrohttpd12t64 "
                    "from Debian 13 on): {}",
                    library_name, ::dlerror()));
  HttpLibrary library;
  const bool all = find(handle, "MHD_start_daemon", library.start_daemon) &&
                   find(handle, "MHD_stop_daemon", library.stop_daemon) &&
                   find(handle, "MHD_get_daemon_info", library.get_daemon_info) &&
                   find(handle, "MHD_get_timeout", library.get_timeout) &&
                   find(handle, "MHD_run", library.run) &&
                   find(handle, "MHD_create_response_from_buffer", library.create_response) &&
                   find(handle, "MHD_destroy_response", library.destroy_response) &&
                   find(handle, "MHD_add_response_header", library.add_header) &&
                   find(handle, "MHD_queue_response", library.queue_response);
  if (!all) return tl::unexpected(fmt::format("{}: {}", library_name, ::dlerror()));
  return library;
}

}  // namespace pinfold::cli::metrics
