// libnbd, loaded at run time: it brings a dozen libraries, and a host without it runs guests with raw disks.
#pragma once

#include <libnbd.h>

#include <string>
#include <tl/expected.hpp>

namespace pinfold::devices::block {

/// The functions that are used (libnbd(3)). The library keeps a lock for each handle, and errors for each
/// thread.
struct NbdLibrary {
  /// An error is one line that says what to install. Call it before the process confines itself: it opens
  /// files.
  [[nodiscard]] static tl::expected<const NbdLibrary*, std::string> load();

  decltype(&::nbd_create) create = nullptr;
  decltype(&::nbd_close) close = nullptr;
  decltype(&::nbd_get_error) get_error = nullptr;
  decltype(&::nbd_set_export_name) set_export_name = nullptr;
  decltype(&::nbd_aio_connect_socket) aio_connect_socket = nullptr;
  decltype(&::nbd_aio_get_direction) aio_get_direction = nullptr;
  decltype(&::nbd_aio_notify_read) aio_notify_read = nullptr;
  decltype(&::nbd_aio_notify_write) aio_notify_write = nullptr;
  decltype(&::nbd_aio_is_ready) aio_is_ready = nullptr;
  decltype(&::nbd_aio_is_dead) aio_is_dead = nullptr;
  decltype(&::nbd_aio_is_closed) aio_is_closed = nullptr;
  decltype(&::nbd_is_read_only) is_read_only = nullptr;
  decltype(&::nbd_can_flush) can_flush = nullptr;
  decltype(&::nbd_can_trim) can_trim = nullptr;
  decltype(&::nbd_can_multi_conn) can_multi_conn = nullptr;
  decltype(&::nbd_get_size) get_size = nullptr;
  decltype(&::nbd_get_block_size) get_block_size = nullptr;
  decltype(&::nbd_aio_pread) aio_pread = nullptr;
  decltype(&::nbd_aio_pwrite) aio_pwrite = nullptr;
  decltype(&::nbd_aio_flush) aio_flush = nullptr;
  decltype(&::nbd_aio_trim) aio_trim = nullptr;
  decltype(&::nbd_aio_disconnect) aio_disconnect = nullptr;
};

}  // namespace pinfold::devices::block
