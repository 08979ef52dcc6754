// Which of a guest's frames the monitor may write at any time: the only maker of SharedPages of guest memory.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "pvmmu/validator.hpp"
#include "vmm/for_devices/frame_holder.hpp"
#include "vmm/for_devices/shared_page.hpp"

namespace pinfold::vmm {

/// The frames of one domain that are shared with the monitor or a device: shared_info, grant table, rings,
/// vcpu_info, event queues. Each hold is one type reference `writable`. So a held frame can't become a page
/// table or a descriptor page, and it stays the domain's when the guest gives it back.
///
/// A hold lasts as long as any SharedPage that came from it. Threads without the domain's lock may drop the
/// last one: this notes the frame, and the next settle() or try_settle() releases it. Until then the frame
/// counts as held.
///
/// Concurrency: a member takes the proof of the lock that it needs. With the lock shared, several threads may
/// hold and settle at the same time. frames() and the list behind it have a lock of their own, a leaf;
/// whoever has the domain's lock alone finds in it exactly the holds that the frames' counts have.
class FrameHolds {
 public:
  /// Called, by any thread and under any of a device's locks, when a write was left out because the frame is
  /// not `writable`, but of this type.
  using OnWrongType = std::function<void(Mfn, pvmmu::FrameType)>;

  FrameHolds(pvmmu::Validator& mmu, OnWrongType on_wrong_type);

  /// Holds a frame of the domain's. Refused if it is another's, or in use as a table or a descriptor page.
  [[nodiscard]] tl::expected<SharedPage, pvmmu::Refusal> hold(pvmmu::Held held, Mfn frame);
  /// The same while others share the lock. Nothing: it takes the lock alone, or is refused; ask hold().
  [[nodiscard]] std::optional<SharedPage> try_hold(pvmmu::Shared shared, Mfn frame);

  /// Releases the frames whose SharedPages are all gone. Costs one load when there are none.
  void settle(pvmmu::Held held) {
    if (has_dropped()) settle_now(held);
  }
  /// The same while others share the lock. What can't be released so is left for settle(); whether nothing
  /// is.
  [[nodiscard]] bool try_settle(pvmmu::Shared shared);

  /// The held frames, once for each hold: outside references for an audit.
  [[nodiscard]] std::vector<Mfn> frames() const;

 private:
  /// What outlives this object if a SharedPage does.
  struct Dropped {
    void add(Mfn frame);
    std::atomic<bool> any{false};
    std::mutex mutex;
    std::vector<Mfn> frames;  ///< Guarded by the mutex.
  };
  [[nodiscard]] bool has_dropped() const { return dropped_->any.load(std::memory_order_acquire); }
  [[nodiscard]] std::vector<Mfn> take_dropped();
  void settle_now(pvmmu::Held held);
  /// A page of a frame whose reference was just taken.
  [[nodiscard]] SharedPage page_of(Mfn frame);
  void list(Mfn frame);
  void unlist(Mfn frame);

  pvmmu::Validator& mmu_;
  OnWrongType on_wrong_type_;
  std::shared_ptr<Dropped> dropped_ = std::make_shared<Dropped>();
  mutable std::mutex list_mutex_;
  std::unordered_map<std::uint64_t, std::uint64_t> holds_;  ///< By frame: how many. Guarded by list_mutex_.
};

/// Holds the domain's lock together with others where that is enough, and alone where it is not.
class DomainFrameHolder final : public FrameHolder {
 public:
  DomainFrameHolder(pvmmu::DomainMutex& mutex, FrameHolds& holds)
      : mutex_(mutex), holds_(holds), sharer_(mutex) {}

  [[nodiscard]] tl::expected<SharedPage, Errno> hold(Mfn frame) override;
  void settle() override;

 private:
  pvmmu::DomainMutex& mutex_;
  FrameHolds& holds_;
  pvmmu::DomainSharer sharer_;
};

}  // namespace pinfold::vmm
