#include "vmm/memory/view.hpp"

#include <algorithm>

namespace pinfold::vmm {

struct View::Parts {
  const Machine& machine;
  std::unique_ptr<MappingBudget::Share> share;
  FrameMapping frames;
  std::optional<FrameMapping> windows;
  WriteProtection how;
};

View::View(Parts parts)
    : machine_(parts.machine),
      share_(std::move(parts.share)),
      frames_(std::move(parts.frames)),
      windows_(std::move(parts.windows)),
      how_(parts.how) {}

MemoryResult<std::unique_ptr<View>> View::create(const Machine& machine, WriteProtection how,
                                                 bool with_windows) {
  auto share = std::make_unique<MappingBudget::Share>(machine.mappings());
  auto frames = FrameMapping::create(machine, *share, how);
  if (!frames) return tl::unexpected(frames.error());
  std::optional<FrameMapping> windows;
  if (with_windows) {
    auto made = FrameMapping::create(machine, *share, how);
    if (!made) return tl::unexpected(made.error());
    windows = std::move(*made);
  }
  return std::unique_ptr<View>(
      new View(Parts{machine, std::move(share), std::move(*frames), std::move(windows), how}));
}

bool View::protect(Mfn mfn) { return closed_ || frames_.write_protect(mfn, true); }

void View::unprotect(Mfn mfn) {
  // This fails only if there may be no more mappings. The frame then stays read-only although it
  // is data again. Isolation holds: the guest's next write to it ends the domain with a report.
  if (!closed_) (void)frames_.write_protect(mfn, false);
}

void View::grant(Mfn first, std::uint64_t count) {
  // If this fails, the frames can't be accessed, and a guest that does ends with a report.
  (void)set(first, Mapping::Access::read_write, count);
  // The windows are there at once, closed. Before they are closed they show what the domain may write anyway.
  if (!windows_ || closed_ || count == 0) return;
  using Access = Mapping::Access;
  const bool done = windows_->splits() ? windows_->set(first, Access::read, count)
                                       : windows_->set(first, Access::read_write, count) &&
                                             windows_->write_protect(first, true, count);
  if (done) return;
  windows_complete_ = false;
  (void)remove_windows(first, count);
}

void View::revoke(Mfn mfn) {
  // This fails if there may be no more mappings, as when a guest gives back every other frame.
  const bool done = remove_windows(mfn, 1) && set(mfn, Mapping::Access::none);
  stuck_ = done ? no_mfn : mfn;
  // Then it stays the domain's, perhaps without a window.
  if (!done) windows_complete_ = false;
  if (done && !closed_) machine_.discard(mfn, 1);
}

bool View::revoke_run(Mfn first, std::uint64_t count) {
  if (!remove_windows(first, count) || !set(first, Mapping::Access::none, count)) {
    windows_complete_ = false;
    return false;
  }
  if (!closed_) machine_.discard(first, count);
  return true;
}

/// By the access of the mapping, whichever way protects the domain's own frames: a page that is read-only so
/// is rare, and needs no mark in the host's page tables.
bool View::lend(Mfn mfn, pvmmu::Loan loan) {
  using Access = Mapping::Access;
  switch (loan) {
    case pvmmu::Loan::none: {
      const bool done = remove_windows(mfn, 1) && set(mfn, Access::none);
      if (!done) windows_complete_ = false;
      return done;
    }
    case pvmmu::Loan::read_only: return set(mfn, Access::read);
    case pvmmu::Loan::read_write: break;
  }
  return set(mfn, Access::read_write);
}

bool View::open_window(Mfn mfn) {
  if (!windows_ || closed_ || windows_->access(mfn) == Mapping::Access::none) return false;
  if (!windows_->write_protect(mfn, false)) return false;
  note_open(mfn, true);
  return true;
}

bool View::close_window(Mfn mfn) {
  if (!is_window_open(mfn)) return true;
  if (!closed_ && !windows_->write_protect(mfn, true)) return false;
  note_open(mfn, false);
  return true;
}

void View::note_open(Mfn mfn, bool open) {
  if (mfn.raw() >= open_.size()) open_.resize(mfn.raw() + 1);
  open_[mfn.raw()] = open;
}

bool View::remove_windows(Mfn first, std::uint64_t count) {
  if (!windows_ || closed_) return true;
  const Mfn end = first.plus(count);
  const auto removed = [this](Mfn mfn) { return windows_->access(mfn) == Mapping::Access::none; };
  Mfn at = first;
  while (at < end && removed(at)) at = at.plus(1);
  if (at == end) return true;
  if (!windows_->set(first, Mapping::Access::none, count)) return false;
  for (; at < end; at = at.plus(1))
    if (is_window_open(at)) note_open(at, false);
  return true;
}

void View::fault_around(Mfn mfn) {
  const std::uint64_t part = mfn.raw() / fault_around_frames;
  if (mfn.raw() >= frames_.frames()) return;
  if (part >= brought_in_.size()) brought_in_.resize(part + 1);
  if (brought_in_[part]) return;
  brought_in_[part] = true;
  const Mfn first(part * fault_around_frames);
  const std::uint64_t count = std::min(fault_around_frames, frames_.frames() - first.raw());
  if (frames_.populate(first, count)) return;
  // One of the frames is a table or not the domain's. Map the others one by one.
  for (std::uint64_t i = 0; i < count; ++i) (void)frames_.populate(first.plus(i), 1);
}

}  // namespace pinfold::vmm
