#include "vmm/memory/frame_holds.hpp"

#include <cstdlib>
#include <utility>

namespace pinfold::vmm {

FrameHolds::FrameHolds(pvmmu::Validator& mmu, OnWrongType on_wrong_type)
    : mmu_(mmu), on_wrong_type_(std::move(on_wrong_type)) {}

tl::expected<SharedPage, pvmmu::Refusal> FrameHolds::hold(pvmmu::Held held, Mfn frame, For whom) {
  settle(held);
  if (auto taken = mmu_.hold(held, frame, pvmmu::FrameType::writable); !taken)
    return tl::unexpected(taken.error());
  return page_of({frame, whom});
}

std::optional<SharedPage> FrameHolds::try_hold(pvmmu::Shared shared, Mfn frame, For whom) {
  if (!mmu_.try_hold_writable(shared, frame)) return std::nullopt;
  return page_of({frame, whom});
}

/// A frame of a domain that is gone keeps the type `writable` for good: a page that outlasts the domain never
/// calls on_wrong_type.
SharedPage FrameHolds::page_of(Hold hold) {
  const Mfn frame = hold.frame;
  list(hold);
  const std::shared_ptr<const pvmmu::FrameFacts> facts = mmu_.lasting_facts(frame);
  auto* made = new SharedPage::Hold{
      mmu_.machine().page(frame.raw()), facts,
      [frame, facts, tell = on_wrong_type_] { tell(frame, pvmmu::type_as_of_now(*facts)); }};
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
    mmu_.release(held, hold.frame);
  }
}

std::uint64_t FrameHolds::leave_to_neighbours(pvmmu::Held, pvmmu::FrameTable& machine) {
  const std::lock_guard lock(dropped_->mutex);
  dropped_->machine = &machine;
  {
    const std::lock_guard list_lock(list_mutex_);
    for (const auto& [frame, counts] : holds_)
      if (counts.neighbour != 0) dropped_->left[frame] = counts.neighbour;
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
    if (mmu_.try_release_writable(shared, hold.frame)) {
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
  ++holds_[hold.frame.raw()].of(hold.whom);
}

void FrameHolds::unlist(Hold hold) {
  const std::lock_guard lock(list_mutex_);
  const auto found = holds_.find(hold.frame.raw());
  if (found == holds_.end() || found->second.of(hold.whom) == 0) std::abort();
  --found->second.of(hold.whom);
  if (found->second.monitor == 0 && found->second.neighbour == 0) holds_.erase(found);
}

std::vector<Mfn> FrameHolds::frames() const {
  const std::lock_guard lock(list_mutex_);
  std::vector<Mfn> all;
  for (const auto& [frame, counts] : holds_)
    all.insert(all.end(), counts.monitor + counts.neighbour, Mfn(frame));
  return all;
}

std::vector<Mfn> FrameHolds::frames(For whom) const {
  const std::lock_guard lock(list_mutex_);
  std::vector<Mfn> all;
  for (const auto& [frame, counts] : holds_) all.insert(all.end(), counts.of(whom), Mfn(frame));
  return all;
}

tl::expected<SharedPage, Errno> DomainFrameHolder::hold(Mfn frame) {
  {
    const pvmmu::DomainShare share(sharer_);
    (void)holds_.try_settle(share);  // what is left of it needs the lock alone, and is not much
    if (auto page = holds_.try_hold(share, frame, whom_)) return std::move(*page);
  }
  const pvmmu::DomainLock lock(mutex_);
  auto page = holds_.hold(lock, frame, whom_);
  if (!page) return fail(Errno::einval);
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
