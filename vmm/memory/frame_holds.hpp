// Which of a guest's frames the monitor may write at any time: the only maker of SharedPages of guest memory.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "pvmmu/validator.hpp"
#include "vmm/for_devices/shared_page.hpp"

namespace pinfold::vmm {

/// The frames of one domain that are shared with the monitor or a device: shared_info, grant table, rings,
/// vcpu_info, event queues. Each hold is one type reference `writable`. So a held frame can't become a page
/// table or a descriptor page, and it stays the domain's when the guest gives it back.
///
/// A hold lasts as long as any SharedPage that came from it. Threads without the domain's lock may drop the
/// last one: this notes the frame, and settle() releases it. Until then the frame counts as held.
///
/// Concurrency: the members need the domain's lock.
class FrameHolds {
 public:
  /// Called, by any thread and under any of a device's locks, when a write was left out because the frame is
  /// not `writable`, but of this type.
  using OnWrongType = std::function<void(Mfn, pvmmu::FrameType)>;

  FrameHolds(pvmmu::Validator& mmu, OnWrongType on_wrong_type);

  /// Holds a frame of the domain's. Refused if it is another's, or in use as a table or a descriptor page.
  [[nodiscard]] tl::expected<SharedPage, pvmmu::Refusal> hold(pvmmu::Held held, Mfn frame);
  /// Releases the frames whose SharedPages are all gone. Costs one load when there are none.
  void settle(pvmmu::Held held) {
    if (dropped_->any.load(std::memory_order_acquire)) release_dropped(held);
  }
  /// The held frames, once for each hold: outside references for an audit.
  [[nodiscard]] const std::vector<Mfn>& frames() const { return frames_; }

 private:
  /// What outlives this object if a SharedPage does.
  struct Dropped {
    void add(Mfn frame);
    std::atomic<bool> any{false};
    std::mutex mutex;
    std::vector<Mfn> frames;  ///< Guarded by the mutex.
  };
  void release_dropped(pvmmu::Held held);

  pvmmu::Validator& mmu_;
  OnWrongType on_wrong_type_;
  std::shared_ptr<Dropped> dropped_ = std::make_shared<Dropped>();
  std::vector<Mfn> frames_;
};

}  // namespace pinfold::vmm
