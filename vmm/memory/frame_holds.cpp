#include "vmm/memory/frame_holds.hpp"

#include <cstdlib>
#include <utility>

namespace pinfold::vmm {

FrameHolds::FrameHolds(pvmmu::Validator& mmu, OnWrongType on_wrong_type)
    : mmu_(mmu), on_wrong_type_(std::move(on_wrong_type)) {}

tl::expected<SharedPage, pvmmu::Refusal> FrameHolds::hold(pvmmu::Held held, Mfn frame) {
  settle(held);
  if (auto taken = mmu_.hold(held, frame, pvmmu::FrameType::writable); !taken)
    return tl::unexpected(taken.error());
  return page_of(frame);
}

std::optional<SharedPage> FrameHolds::try_hold(pvmmu::Shared shared, Mfn frame) {
  if (!mmu_.try_hold_writable(shared, frame)) return std::nullopt;
  return page_of(frame);
}

SharedPage FrameHolds::page_of(Mfn frame) {
  list(frame);
  const std::shared_ptr<const pvmmu::FrameFacts> facts = mmu_.lasting_facts(frame);
  auto* made = new SharedPage::Hold{
      mmu_.machine().page(frame.raw()), facts,
      [frame, facts, tell = on_wrong_type_] { tell(frame, pvmmu::type_as_of_now(*facts)); }};
  return SharedPage(std::shared_ptr<const SharedPage::Hold>(
      made, [frame, dropped = dropped_](const SharedPage::Hold* hold) {
        delete hold;
        dropped->add(frame);
      }));
}

void FrameHolds::Dropped::add(Mfn frame) {
  const std::lock_guard lock(mutex);
  frames.push_back(frame);
  any.store(true, std::memory_order_release);
}

std::vector<Mfn> FrameHolds::take_dropped() {
  const std::lock_guard lock(dropped_->mutex);
  dropped_->any.store(false, std::memory_order_relaxed);
  return std::exchange(dropped_->frames, {});
}

void FrameHolds::settle_now(pvmmu::Held held) {
  for (const Mfn frame : take_dropped()) {
    unlist(frame);
    mmu_.release(held, frame);
  }
}

bool FrameHolds::try_settle(pvmmu::Shared shared) {
  if (!has_dropped()) return true;
  bool all = true;
  const std::vector<Mfn> dropped = take_dropped();
  for (const Mfn frame : dropped) {
    if (mmu_.try_release_writable(shared, frame)) {
      unlist(frame);
    } else {
      dropped_->add(frame);
      all = false;
    }
  }
  return all;
}

void FrameHolds::list(Mfn frame) {
  const std::lock_guard lock(list_mutex_);
  ++holds_[frame.raw()];
}

void FrameHolds::unlist(Mfn frame) {
  const std::lock_guard lock(list_mutex_);
  const auto found = holds_.find(frame.raw());
  if (found == holds_.end()) std::abort();
  if (--found->second == 0) holds_.erase(found);
}

std::vector<Mfn> FrameHolds::frames() const {
  const std::lock_guard lock(list_mutex_);
  std::vector<Mfn> all;
  for (const auto& [frame, count] : holds_) all.insert(all.end(), count, Mfn(frame));
  return all;
}

tl::expected<SharedPage, Errno> DomainFrameHolder::hold(Mfn frame) {
  {
    const pvmmu::DomainShare share(sharer_);
    (void)holds_.try_settle(share);  // what is left of it needs the lock alone, and is not much
    if (auto page = holds_.try_hold(share, frame)) return std::move(*page);
  }
  const pvmmu::DomainLock lock(mutex_);
  auto page = holds_.hold(lock, frame);
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
