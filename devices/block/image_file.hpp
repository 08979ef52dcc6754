// An image's descriptor, and what all of its queues share.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "devices/block/image.hpp"
#include "devices/block/image_results.hpp"
#include "devices/block/transfer_steps.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::devices::block {

/// Concurrency: any thread.
class ImageFile {
 public:
  ImageFile(vmm::Fd fd, std::string name, const Geometry& geometry, const MemoryAlignment& alignment)
      : fd_(std::move(fd)),
        results_(std::move(name)),
        geometry_(geometry),
        sectors_(geometry.sectors),
        alignment_(alignment) {}
  /// Drops the locks. An io_uring keeps its files open for a while after its end, and with them their locks;
  /// the guest's next start would find its image locked.
  ~ImageFile();
  ImageFile(const ImageFile&) = delete;
  ImageFile& operator=(const ImageFile&) = delete;

  [[nodiscard]] int descriptor() const { return fd_.get(); }
  [[nodiscard]] const std::string& name() const { return results_.name(); }
  [[nodiscard]] Geometry geometry() const {
    Geometry now = geometry_;
    now.sectors = sectors_.load(std::memory_order_relaxed);
    return now;
  }
  [[nodiscard]] const MemoryAlignment& alignment() const { return alignment_; }

  /// Image::grow().
  [[nodiscard]] tl::expected<std::uint64_t, std::string> grow(std::optional<std::uint64_t> bytes);
  /// ImageResults::result_of().
  [[nodiscard]] int result_of(const Transfer& transfer, int host_error) {
    return results_.result_of(transfer, host_error);
  }

 private:
  vmm::Fd fd_;
  ImageResults results_;
  const Geometry geometry_;  ///< As the image was opened.
  std::atomic<std::uint64_t> sectors_;
  MemoryAlignment alignment_;
};

}  // namespace pinfold::devices::block
