#include "vmm/memory/frame_holds.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace pinfold::vmm {

FrameHolds::FrameHolds(pvmmu::Validator& mmu, OnWrongType on_wrong_type)
    : mmu_(mmu), on_wrong_type_(std::move(on_wrong_type)) {}

tl::expected<SharedPage, pvmmu::Refusal> FrameHolds::hold(pvmmu::Held held, Mfn frame) {
  settle(held);
  if (auto taken = mmu_.hold(held, frame, pvmmu::FrameType::writable); !taken)
    return tl::unexpected(taken.error());
  frames_.push_back(frame);
  const pvmmu::Frame& record = mmu_.frame(frame);
  auto* made = new SharedPage::Hold{
      mmu_.machine().page(frame.raw()), &record,
      [frame, &record, tell = on_wrong_type_] { tell(frame, pvmmu::type_as_of_now(record)); }};
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

void FrameHolds::release_dropped(pvmmu::Held held) {
  std::vector<Mfn> dropped;
  {
    const std::lock_guard lock(dropped_->mutex);
    dropped.swap(dropped_->frames);
    dropped_->any.store(false, std::memory_order_relaxed);
  }
  for (const Mfn frame : dropped) {
    const auto found = std::ranges::find(frames_, frame);
    if (found == frames_.end()) std::abort();
    frames_.erase(found);
    mmu_.release(held, frame);
  }
}

}  // namespace pinfold::vmm
