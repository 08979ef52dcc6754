#include "devices/block/nbd_library.hpp"

#include <dlfcn.h>

#include "vmm/for_devices/find_symbol.hpp"

namespace pinfold::devices::block {
namespace {

constexpr const char* soname = "libnbd.so.0";

tl::expected<NbdLibrary, std::string> load_once() {
  // Never closed: an image uses it until the process ends.
  void* handle = ::dlopen(soname, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr)
    return tl::unexpected("images of this kind need libnbd (`apt-get install libnbd0`): " +
                          std::string(::dlerror()));
  NbdLibrary library;
  const bool all = vmm::find_symbol(handle, "nbd_create", library.create) &&
                   vmm::find_symbol(handle, "nbd_close", library.close) &&
                   vmm::find_symbol(handle, "nbd_get_error", library.get_error) &&
                   vmm::find_symbol(handle, "nbd_set_export_name", library.set_export_name) &&
                   vmm::find_symbol(handle, "nbd_aio_connect_socket", library.aio_connect_socket) &&
                   vmm::find_symbol(handle, "nbd_aio_get_direction", library.aio_get_direction) &&
                   vmm::find_symbol(handle, "nbd_aio_notify_read", library.aio_notify_read) &&
                   vmm::find_symbol(handle, "nbd_aio_notify_write", library.aio_notify_write) &&
                   vmm::find_symbol(handle, "nbd_aio_is_ready", library.aio_is_ready) &&
                   vmm::find_symbol(handle, "nbd_aio_is_dead", library.aio_is_dead) &&
                   vmm::find_symbol(handle, "nbd_aio_is_closed", library.aio_is_closed) &&
                   vmm::find_symbol(handle, "nbd_is_read_only", library.is_read_only) &&
                   vmm::find_symbol(handle, "nbd_can_flush", library.can_flush) &&
                   vmm::find_symbol(handle, "nbd_can_trim", library.can_trim) &&
                   vmm::find_symbol(handle, "nbd_can_multi_conn", library.can_multi_conn) &&
                   vmm::find_symbol(handle, "nbd_get_size", library.get_size) &&
                   vmm::find_symbol(handle, "nbd_get_block_size", library.get_block_size) &&
                   vmm::find_symbol(handle, "nbd_aio_pread", library.aio_pread) &&
                   vmm::find_symbol(handle, "nbd_aio_pwrite", library.aio_pwrite) &&
                   vmm::find_symbol(handle, "nbd_aio_flush", library.aio_flush) &&
                   vmm::find_symbol(handle, "nbd_aio_trim", library.aio_trim) &&
                   vmm::find_symbol(handle, "nbd_aio_disconnect", library.aio_disconnect);
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
