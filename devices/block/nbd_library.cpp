#include "devices/block/nbd_library.hpp"

#include <dlfcn.h>

#include <cstring>

namespace pinfold::devices::block {
namespace {

constexpr const char* soname = "libnbd.so.0";

template <class Function>
bool find(void* handle, const char* name, Function& to) {
  void* symbol = ::dlsym(handle, name);
  // POSIX requires that a pointer to an object can hold one to a function (dlsym).
  std::memcpy(&to, &symbol, sizeof to);
  return symbol != nullptr;
}

tl::expected<NbdLibrary, std::string> load_once() {
  // Never closed: an image uses it until the process ends.
  void* handle = ::dlopen(soname, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr)
    return tl::unexpected("images of this kind need libnbd (`apt-get install libnbd0`): " +
                          std::string(::dlerror()));
  NbdLibrary library;
  const bool all =
      find(handle, "nbd_create", library.create) && find(handle, "nbd_close", library.close) &&
      find(handle, "nbd_get_error", library.get_error) &&
      find(handle, "nbd_set_export_name", library.set_export_name) &&
      find(handle, "nbd_aio_connect_socket", library.aio_connect_socket) &&
      find(handle, "nbd_aio_get_direction", library.aio_get_direction) &&
      find(handle, "nbd_aio_notify_read", library.aio_notify_read) &&
      find(handle, "nbd_aio_notify_write", library.aio_notify_write) &&
      find(handle, "nbd_aio_is_ready", library.aio_is_ready) &&
      find(handle, "nbd_aio_is_dead", library.aio_is_dead) &&
      find(handle, "nbd_aio_is_closed", library.aio_is_closed) &&
      find(handle, "nbd_is_read_only", library.is_read_only) &&
      find(handle, "nbd_can_flush", library.can_flush) && find(handle, "nbd_can_trim", library.can_trim) &&
      find(handle, "nbd_can_multi_conn", library.can_multi_conn) &&
      find(handle, "nbd_get_size", library.get_size) &&
      find(handle, "nbd_get_block_size", library.get_block_size) &&
      find(handle, "nbd_aio_pread", library.aio_pread) &&
      find(handle, "nbd_aio_pwrite", library.aio_pwrite) &&
      find(handle, "nbd_aio_flush", library.aio_flush) && find(handle, "nbd_aio_trim", library.aio_trim) &&
      find(handle, "nbd_aio_disconnect", library.aio_disconnect);
  if (!all) return tl::unexpected(std::string(soname) + ": " + ::dlerror());
  return library;
}

}  // namespace

tl::expected<const NbdLibrary*, std::string> NbdLibrary::load() {
  static const auto loaded = load_once();
  if (!loaded) return tl::unexpected(loaded.error());
  return &*loaded;
}

}  // namespace pinfold::devices::block
