// Whether a guest still has a device that a helper serves.
#pragma once

#include <memory>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli {

/// A helper such as passt or qemu-nbd ends with status 0 when its device is gone, and also by SIGTERM. This
/// end of a pipe tells the two apart: the monitor has the other end, and closes it with the device.
class DeviceTie {
 public:
  struct Ends {
    std::shared_ptr<const DeviceTie> ours;
    vmm::Fd monitors;
  };
  /// On a host that gives no pipe, `ours` is null.
  [[nodiscard]] static Ends make();
  /// Has anybody the other end open?
  [[nodiscard]] bool is_held() const;

 private:
  explicit DeviceTie(vmm::Fd fd) : fd_(std::move(fd)) {}
  vmm::Fd fd_;
};

}  // namespace pinfold::cli
