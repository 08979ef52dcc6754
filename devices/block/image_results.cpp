#include "devices/block/image_results.hpp"

#include <spdlog/spdlog.h>

#include <cstring>

namespace pinfold::devices::block {
namespace {

const char* verb(Operation operation) {
  switch (operation) {
    case Operation::read: return "read";
    case Operation::write: return "write";
    case Operation::flush: return "flush";
    case Operation::discard: return "discard";
  }
  return "use";
}

}  // namespace

int ImageResults::result_of(const Transfer& transfer, int host_error) {
  if (host_error != 0) log_once(transfer, host_error);
  switch (transfer.operation) {
    case Operation::flush: {
      int before = 0;
      if (host_error != 0) failed_flush_.compare_exchange_strong(before, host_error);
      return failed_flush_.load();
    }
    // Linux's frontend asks for no flush any more after one that failed.
    case Operation::write: return host_error != 0 ? host_error : failed_flush_.load();
    default: return host_error;
  }
}

void ImageResults::log_once(const Transfer& transfer, int error) {
  {
    const std::lock_guard lock(mutex_);
    if (!logged_.emplace(transfer.operation, error).second) return;
  }
  spdlog::warn(
      "disk {}: can't {} {} bytes at {}: {}; the guest gets an I/O error (more of them are not shown)", name_,
      verb(transfer.operation), transfer.bytes, transfer.offset, std::strerror(error));
}

}  // namespace pinfold::devices::block
