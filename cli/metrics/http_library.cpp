#include "cli/metrics/http_library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include "vmm/for_devices/find_symbol.hpp"

namespace pinfold::cli::metrics {
namespace {

/// The same in Debian 12 and 13, whose packages are called differently.
constexpr const char* library_name = "libmicrohttpd.so.12";

}  // namespace

tl::expected<HttpLibrary, std::string> HttpLibrary::load() {
  void* handle = ::dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr)
    return tl::unexpected(
        fmt::format("--listen takes {} (Debian has it in the package libmicrohttpd12, or libmicrohttpd12t64 "
                    "from Debian 13 on): {}",
                    library_name, ::dlerror()));
  HttpLibrary library;
  const bool all = vmm::find_symbol(handle, "MHD_start_daemon", library.start_daemon) &&
                   vmm::find_symbol(handle, "MHD_stop_daemon", library.stop_daemon) &&
                   vmm::find_symbol(handle, "MHD_get_daemon_info", library.get_daemon_info) &&
                   vmm::find_symbol(handle, "MHD_get_timeout", library.get_timeout) &&
                   vmm::find_symbol(handle, "MHD_run", library.run) &&
                   vmm::find_symbol(handle, "MHD_create_response_from_buffer", library.create_response) &&
                   vmm::find_symbol(handle, "MHD_destroy_response", library.destroy_response) &&
                   vmm::find_symbol(handle, "MHD_add_response_header", library.add_header) &&
                   vmm::find_symbol(handle, "MHD_queue_response", library.queue_response);
  if (!all) return tl::unexpected(fmt::format("{}: {}", library_name, ::dlerror()));
  return library;
}

}  // namespace pinfold::cli::metrics
