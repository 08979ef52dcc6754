// Which of a guest's frames the monitor may write at any time: the only maker of SharedPages of guest memory.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "pvmmu/validator.hpp"
#include "vmm/for_devices/frame_holder.hpp"
#include "vmm/for_devices/shared_page.hpp"

namespace pinfold::vmm {

/// The frames of one domain that are shared with the monitor or a device: shared_info, grant table, rings,
/// vcpu_info, event queues, and what it granted. Each hold for writing is one type reference `writable`, so
/// the frame can't become a page table or a descriptor page; each hold for reading is a reference without a
/// type. In both cases the frame stays the domain's when the guest gives it back.
///
/// A hold lasts as long as any SharedPage that came from it. Threads without the domain's lock may drop the
/// last one: this notes the frame, and the next settle() or try_settle() releases it. Until then the frame
/// counts as held.
///
/// A neighbour's hold, which another domain of the machine has by a grant, may outlast the domain. Its frame
/// is then nobody's, in no VM of the dead domain, until the last page is gone; then it is the machine's, and
/// is cleared before anybody gets it.
///
/// Concurrency: a member takes the proof of the lock that it needs. With the lock shared, several threads may
/// hold and settle at the same time. frames() and the ledger behind it have a lock of their own, a leaf;
/// whoever has the domain's lock alone finds in it exactly the holds that the frames' counts have.
class FrameHolds {
 public:
  /// Called, by any thread and under any of a device's locks, when a write was left out because the frame is
  /// not `writable`, but of this type.
  using OnWrongType = std::function<void(Mfn, pvmmu::FrameType)>;

  FrameHolds(pvmmu::Validator& mmu, OnWrongType on_wrong_type);
  FrameHolds(const FrameHolds&) = delete;
  FrameHolds& operator=(const FrameHolds&) = delete;

  /// Whose hold it is.
  enum class For : std::uint8_t {
    monitor,    ///< The domain's own, or a device's: it ends before the domain is torn down.
    neighbour,  ///< Another domain's.
  };

  /// Holds a frame of the domain's. Refused if it is another's, or to be written and in use as a table or a
  /// descriptor page.
  [[nodiscard]] tl::expected<SharedPage, pvmmu::Refusal> hold(pvmmu::Held held, Mfn frame,
                                                              For whom = For::monitor,
                                                              FrameUse use = FrameUse::write);
  /// The same while others share the lock. Nothing: it takes the lock alone, or is refused; ask hold().
  [[nodiscard]] std::optional<SharedPage> try_hold(pvmmu::Shared shared, Mfn frame, For whom = For::monitor,
                                                   FrameUse use = FrameUse::write);

  /// Releases the frames whose SharedPages are all gone. Costs one load when there are none.
  void settle(pvmmu::Held held) {
    if (has_ended_.load(std::memory_order_acquire)) settle_now(held);
  }
  /// The same while others share the lock. What can't be released so is left for settle(); whether nothing
  /// is.
  [[nodiscard]] bool try_settle(pvmmu::Shared shared);

  /// The frames that are held for this use, once for each hold: outside references for an audit.
  [[nodiscard]] std::vector<Mfn> frames(FrameUse use = FrameUse::write) const;
  /// The same, of one holder and for any use.
  [[nodiscard]] std::vector<Mfn> frames(For whom) const;
  /// The same, of one holder and for one use.
  [[nodiscard]] std::vector<Mfn> frames(For whom, FrameUse use) const;

  /// After Validator::destroy: from here on the frames that neighbours hold belong to their holds alone, and
  /// go to `machine`, which outlives them, when these are gone. How many frames the domain left so. Nothing
  /// is held or settled later.
  [[nodiscard]] std::uint64_t leave_to_neighbours(pvmmu::Held, pvmmu::FrameTable& machine);

 private:
  struct Hold {
    Mfn frame;
    For whom = For::monitor;
    FrameUse use = FrameUse::write;
  };
  class Page;
  class Ledger;
  void settle_now(pvmmu::Held held);
  /// A page of a frame whose reference was just taken.
  [[nodiscard]] SharedPage page_of(Hold hold);

  pvmmu::Validator& mmu_;
  std::shared_ptr<Ledger> ledger_;
  const std::atomic<bool>& has_ended_;  ///< The ledger's.
};

/// The error of a hold that was refused: EINVAL if the frame is not the domain's, else EBUSY.
[[nodiscard]] Errno error_of_hold(const pvmmu::Refusal& refusal);

/// Holds the domain's lock together with others where that is enough, and alone where it is not.
class DomainFrameHolder final : public FrameHolder {
 public:
  DomainFrameHolder(pvmmu::DomainMutex& mutex, FrameHolds& holds,
                    FrameHolds::For whom = FrameHolds::For::monitor)
      : mutex_(mutex), holds_(holds), whom_(whom), sharer_(mutex) {}

  [[nodiscard]] tl::expected<SharedPage, Errno> hold(Mfn frame, FrameUse use) override;
  void settle() override;

 private:
  pvmmu::DomainMutex& mutex_;
  FrameHolds& holds_;
  const FrameHolds::For whom_;
  pvmmu::DomainSharer sharer_;
};

}  // namespace pinfold::vmm
