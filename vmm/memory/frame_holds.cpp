#include "vmm/memory/frame_holds.hpp"

#include <cstdlib>
#include <utility>

namespace pinfold::vmm {

FrameHolds::FrameHolds(pvmmu::Validator& mmu, OnWrongType on_wrong_type)
    : mmu_(mmu), on_wrong_type_(std::move(on_wrong_type)) {}

tl::expected<SharedPage, pvmmu::Refusal> FrameHolds::hold(pvmmu::Held held, Mfn frame, For whom,
                                                          FrameUse use) {
  settle(held);
  const auto taken = use == FrameUse::read ? mmu_.hold_readable(held, frame)
                                           : mmu_.hold(held, frame, pvmmu::FrameType::writable);
  if (!taken) return tl::unexpected(taken.error());
  return page_of({frame, whom, use});
}

std::optional<SharedPage> FrameHolds::try_hold(pvmmu::Shared shared, Mfn frame, For whom, FrameUse use) {
  const bool taken =
      use == FrameUse::read ? mmu_.try_hold_readable(shared, frame) : mmu_.try_hold_writable(shared, frame);
  if (!taken) return std::nullopt;
  return page_of({frame, whom, use});
}

/// A frame of a domain that is gone keeps the type `writable` for good: a page that outlasts the domain never
/// calls on_wrong_type.
SharedPage FrameHolds::page_of(Hold hold) {
  list(hold);
  // No type of a frame that is held for reading permits a write.
  static const pvmmu::FrameFacts never_written;
  const bool read = hold.use == FrameUse::read;
  const auto facts = read ? std::shared_ptr<const pvmmu::FrameFacts>(std::shared_ptr<void>(), &never_written)
                          : mmu_.lasting_facts(hold.frame);
  std::function<void()> tell = [] { std::abort(); };
  if (!read)
    tell = [frame = hold.frame, facts, on_wrong_type = on_wrong_type_] {
      on_wrong_type(frame, pvmmu::type_as_of_now(*facts));
    };
  auto* made = new SharedPage::Hold{mmu_.machine().page(hold.frame.raw()), facts, std::move(tell)};
  return SharedPage(
      std::shared_ptr<const SharedPage::Hold>(made, [hold, dropped = dropped_](const SharedPage::Hold* page) {
        delete page;
        dropped->add(hold);
      }));
}

void FrameHolds::Dropped::add(Hold hold) {
  const std::lock_guard lock(mutex);
  if (machine == nullptr) {
    holds.push_back(hold);
    any.store(true, std::memory_order_release);
    return;
  }
  end_left(hold.frame);
}

void FrameHolds::Dropped::end_left(Mfn frame) {
  const auto found = left.find(frame.raw());
  if (found == left.end() || --found->second != 0) return;
  left.erase(found);
  machine->give_back(frame);
}

std::vector<FrameHolds::Hold> FrameHolds::take_dropped() {
  const std::lock_guard lock(dropped_->mutex);
  dropped_->any.store(false, std::memory_order_relaxed);
  return std::exchange(dropped_->holds, {});
}

void FrameHolds::settle_now(pvmmu::Held held) {
  for (const Hold hold : take_dropped()) {
    unlist(hold);
    if (hold.use == FrameUse::read)
      mmu_.release_readable(held, hold.frame);
    else
      mmu_.release(held, hold.frame);
  }
}

std::uint64_t FrameHolds::leave_to_neighbours(pvmmu::Held, pvmmu::FrameTable& machine) {
  const std::lock_guard lock(dropped_->mutex);
  dropped_->machine = &machine;
  {
    const std::lock_guard list_lock(list_mutex_);
    for (const auto& [frame, counts] : holds_)
      if (const std::uint64_t left = counts.of(For::neighbour); left != 0) dropped_->left[frame] = left;
    holds_.clear();
  }
  const std::uint64_t frames = dropped_->left.size();
  // Those that were dropped while the domain was taken apart.
  for (const Hold hold : std::exchange(dropped_->holds, {})) dropped_->end_left(hold.frame);
  return frames;
}

bool FrameHolds::try_settle(pvmmu::Shared shared) {
  if (!has_dropped()) return true;
  bool all = true;
  const std::vector<Hold> dropped = take_dropped();
  for (const Hold hold : dropped) {
    const bool released = hold.use == FrameUse::read ? mmu_.try_release_readable(shared, hold.frame)
                                                     : mmu_.try_release_writable(shared, hold.frame);
    if (released) {
      unlist(hold);
    } else {
      dropped_->add(hold);
      all = false;
    }
  }
  return all;
}

void FrameHolds::list(Hold hold) {
  const std::lock_guard lock(list_mutex_);
  ++holds_[hold.frame.raw()].of(hold.whom, hold.use);
}

void FrameHolds::unlist(Hold hold) {
  const std::lock_guard lock(list_mutex_);
  const auto found = holds_.find(hold.frame.raw());
  if (found == holds_.end() || found->second.of(hold.whom, hold.use) == 0) std::abort();
  --found->second.of(hold.whom, hold.use);
  if (!found->second.any()) holds_.erase(found);
}

std::vector<Mfn> FrameHolds::frames(FrameUse use) const {
  const std::lock_guard lock(list_mutex_);
  std::vector<Mfn> all;
  for (const auto& [frame, counts] : holds_) all.insert(all.end(), counts.of(use), Mfn(frame));
  return all;
}

std::vector<Mfn> FrameHolds::frames(For whom) const {
  const std::lock_guard lock(list_mutex_);
  std::vector<Mfn> all;
  for (const auto& [frame, counts] : holds_) all.insert(all.end(), counts.of(whom), Mfn(frame));
  return all;
}

std::vector<Mfn> FrameHolds::frames(For whom, FrameUse use) const {
  const std::lock_guard lock(list_mutex_);
  std::vector<Mfn> all;
  for (const auto& [frame, counts] : holds_) all.insert(all.end(), counts.of(whom, use), Mfn(frame));
  return all;
}

Errno error_of_hold(const pvmmu::Refusal& refusal) {
  const bool is_owned =
      refusal.rule != pvmmu::Rule::frame_not_owned && refusal.rule != pvmmu::Rule::frame_out_of_range;
  return is_owned ? Errno::ebusy : Errno::einval;
}

tl::expected<SharedPage, Errno> DomainFrameHolder::hold(Mfn frame, FrameUse use) {
  {
    const pvmmu::DomainShare share(sharer_);
    (void)holds_.try_settle(share);  // what is left of it needs the lock alone, and is not much
    if (auto page = holds_.try_hold(share, frame, whom_, use)) return std::move(*page);
  }
  const pvmmu::DomainLock lock(mutex_);
  auto page = holds_.hold(lock, frame, whom_, use);
  if (!page) return fail(error_of_hold(page.error()));
  return std::move(*page);
}

void DomainFrameHolder::settle() {
  {
    const pvmmu::DomainShare share(sharer_);
    if (holds_.try_settle(share)) return;
  }
  const pvmmu::DomainLock lock(mutex_);
  holds_.settle(lock);
}

}  // namespace pinfold::vmm
