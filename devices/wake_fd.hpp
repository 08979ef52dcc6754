// A descriptor that becomes readable when there is something to collect (eventfd(2)).
#pragma once

#include <sys/eventfd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::devices {

/// Concurrency: any thread.
class WakeFd {
 public:
  [[nodiscard]] static tl::expected<WakeFd, std::string> make() {
    vmm::Fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!fd.open()) return tl::unexpected(std::string("no eventfd: ") + std::strerror(errno));
    return WakeFd(std::move(fd));
  }

  void raise() {
    const std::uint64_t one = 1;
    // It fails only when the counter is full: then the descriptor is readable already.
    [[maybe_unused]] const auto written = ::write(fd_.get(), &one, sizeof one);
  }
  void clear() {
    std::uint64_t count;
    [[maybe_unused]] const auto got = ::read(fd_.get(), &count, sizeof count);
  }
  [[nodiscard]] int get() const { return fd_.get(); }

 private:
  explicit WakeFd(vmm::Fd fd) : fd_(std::move(fd)) {}
  vmm::Fd fd_;
};

}  // namespace pinfold::devices
