// An image's descriptor, and what all of its queues share.
#pragma once

#include <atomic>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "devices/block/image.hpp"
#include "devices/block/transfer_steps.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::devices::block {

/// Concurrency: any thread.
class ImageFile {
 public:
  ImageFile(vmm::Fd fd, std::string name, const Geometry& geometry, const MemoryAlignment& alignment)
      : fd_(std::move(fd)), name_(std::move(name)), geometry_(geometry), alignment_(alignment) {}
  /// Drops the locks. An io_uring keeps its files open for a while after its end, and with them their locks;
  /// the guest's next start would find its image locked.
  ~ImageFile();
  ImageFile(const ImageFile&) = delete;
  ImageFile& operator=(const ImageFile&) = delete;

  [[nodiscard]] int descriptor() const { return fd_.get(); }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const Geometry& geometry() const { return geometry_; }
  [[nodiscard]] const MemoryAlignment& alignment() const { return alignment_; }

  /// What a transfer's result is, given what the host said (0 or an errno): the same, but for a flush. After
  /// one flush failed, all later ones fail: the host has dropped what it could not write, and reports it only
  /// once. The first failure of each kind is logged for the user.
  [[nodiscard]] int result_of(const Transfer& transfer, int host_error);

 private:
  void log_once(const Transfer& transfer, int error);

  vmm::Fd fd_;
  std::string name_;
  Geometry geometry_;
  MemoryAlignment alignment_;
  std::atomic<int> failed_flush_ = 0;  ///< The errno of the first flush that failed.
  std::mutex mutex_;
  std::set<std::pair<Operation, int>> logged_;
};

}  // namespace pinfold::devices::block
