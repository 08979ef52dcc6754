#include "devices/grant_entries.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "devices/xen_abi.hpp"

namespace pinfold::devices {
namespace {

static_assert(sizeof(grant_entry_v1) == 8 && offsetof(grant_entry_v1, domid) == 2 &&
              offsetof(grant_entry_v1, frame) == 4);
static_assert(page_size / sizeof(grant_entry_v1) == GrantEntries::entries_per_frame);

// Flags and domain are checked and changed as the one word that they are in memory: the guest may change
// either.
constexpr std::uint16_t flags_of(std::uint32_t head) { return static_cast<std::uint16_t>(head); }
constexpr DomId domain_of(std::uint32_t head) { return DomId(static_cast<std::uint16_t>(head >> 16)); }

}  // namespace

Status GrantEntries::grow(pvmmu::Held held, std::uint32_t count) {
  if (count > max_) return fail(Errno::enospc);
  while (frames_.size() < count) {
    auto frame = source_.allocate(held);
    if (!frame) return fail(frame.error());
    const std::lock_guard lock(mutex_);
    frames_.push_back(std::move(*frame));
    pins_.resize(frames_.size() * entries_per_frame);
  }
  return {};
}

void GrantEntries::drop() {
  const std::lock_guard lock(mutex_);
  dropped_ = true;
  frames_.clear();
  pins_.clear();
}

tl::expected<Mfn, Errno> GrantEntries::acquire(GrantRef ref, DomId grantee, GrantUse use, GrantSpan span) {
  const std::lock_guard lock(mutex_);
  if (!exists(ref)) return fail(is_empty_entry(ref) ? Errno::eperm : Errno::erange);
  Pins& pins = pins_[ref.raw()];
  const bool write = use == GrantUse::write;
  if (pins.any() && pins.grantee != grantee) return fail(Errno::eperm);
  // A use that needs no more marks than there are asks the guest nothing.
  if (!pins.any() || (write && pins.writers == 0)) {
    if (pins.any() && span == GrantSpan::copy && frame_in(ref) != pins.frame) return fail(Errno::eperm);
    if (auto marked = mark(ref, grantee, use, span); !marked) return fail(marked.error());
  }
  if (!pins.any()) {
    pins.grantee = grantee;
    pins.frame = frame_in(ref);
  }
  ++(write ? pins.writers : pins.readers);
  return pins.frame;
}

/// Marks the entry as in use. What permits that is looked at in the same atomic step. If it is in use
/// already, only the permission to write matters.
Status GrantEntries::mark(GrantRef ref, DomId grantee, GrantUse use, GrantSpan span) {
  auto& page = page_of(ref);
  const bool write = use == GrantUse::write, is_first = !pins_[ref.raw()].any();
  // What version 1 has no parts of a page for; a copy does not ask.
  const std::uint16_t type = GTF_type_mask | (span == GrantSpan::mapping ? GTF_sub_page : 0);
  const std::uint32_t in_use = GTF_reading | (write ? GTF_writing : 0U);
  auto head = page.load<std::uint32_t>(offset_of(ref));
  // A guest that keeps changing the entry is not waited for.
  for (int attempt = 0; attempt < 5; ++attempt) {
    if (is_first && (flags_of(head) & type) != GTF_permit_access) return fail(Errno::eperm);
    if (is_first && domain_of(head) != grantee) return fail(Errno::eperm);
    if (write && (flags_of(head) & GTF_readonly) != 0) return fail(Errno::eperm);
    if (page.compare_exchange(offset_of(ref), head, head | in_use)) return {};
  }
  return fail(Errno::eagain);
}

Mfn GrantEntries::frame_in(GrantRef ref) {
  return Mfn(page_of(ref).load<std::uint32_t>(offset_of(ref) + offsetof(grant_entry_v1, frame)));
}

void GrantEntries::release(GrantRef ref, GrantUse use) {
  const std::lock_guard lock(mutex_);
  if (dropped_) return;
  if (!exists(ref)) std::abort();
  Pins& pins = pins_[ref.raw()];
  auto& count = use == GrantUse::write ? pins.writers : pins.readers;
  if (count == 0) std::abort();
  --count;
  std::uint32_t ended = use == GrantUse::write && pins.writers == 0 ? GTF_writing : 0U;
  if (!pins.any()) ended |= GTF_reading;
  page_of(ref).fetch_and(offset_of(ref), ~ended);
}

/// Of an entry's first word: does it accept a frame of `giver`, and has none yet?
bool GrantEntries::accepts(std::uint32_t head, DomId giver) {
  return flags_of(head) == GTF_accept_transfer && domain_of(head) == giver;
}

tl::expected<Pfn, Errno> GrantEntries::commit_transfer(GrantRef ref, DomId giver) {
  const std::lock_guard lock(mutex_);
  if (!exists(ref)) return fail(is_empty_entry(ref) ? Errno::eperm : Errno::erange);
  auto& page = page_of(ref);
  auto head = page.load<std::uint32_t>(offset_of(ref));
  for (int attempt = 0; attempt < 5; ++attempt) {
    if (!accepts(head, giver)) return fail(Errno::eperm);
    if (page.compare_exchange(offset_of(ref), head, head | GTF_transfer_committed))
      return Pfn(page.load<std::uint32_t>(offset_of(ref) + offsetof(grant_entry_v1, frame)));
  }
  return fail(Errno::eagain);
}

bool GrantEntries::accepts_transfer(GrantRef ref, DomId giver) {
  const std::lock_guard lock(mutex_);
  if (!exists(ref)) return false;
  const auto head = page_of(ref).load<std::uint32_t>(offset_of(ref));
  return accepts(head, giver);
}

/// The frame's number is there before the mark that says so.
void GrantEntries::complete_transfer(GrantRef ref, Mfn frame) {
  const std::lock_guard lock(mutex_);
  if (dropped_) return;
  auto& page = page_of(ref);
  page.store(offset_of(ref) + offsetof(grant_entry_v1, frame), static_cast<std::uint32_t>(frame.raw()));
  page.fetch_or(offset_of(ref), std::uint32_t{GTF_transfer_completed});
}

Status GrantEntries::swap(GrantRef a, GrantRef b) {
  const std::lock_guard lock(mutex_);
  if (!exists(a) || !exists(b)) return fail(Errno::einval);
  if (a == b) return {};
  if (pins_[a.raw()].any() || pins_[b.raw()].any()) return fail(Errno::ebusy);
  const auto first = page_of(a).load<std::uint64_t>(offset_of(a));
  const auto second = page_of(b).exchange(offset_of(b), first);
  page_of(a).store(offset_of(a), second);
  return {};
}

std::vector<GrantInUse> GrantEntries::in_use(Mfn frame) {
  std::vector<GrantInUse> found;
  for (std::size_t at = 0;;) {
    const std::lock_guard lock(mutex_);
    const std::size_t end = std::min(pins_.size(), at + entries_per_frame);
    if (at >= end) return found;
    for (; at < end; ++at) {
      const Pins& pins = pins_[at];
      if (pins.any() && (frame == no_mfn || pins.frame == frame))
        found.push_back(
            {GrantRef(static_cast<std::uint32_t>(at)), pins.grantee, pins.frame, pins.readers, pins.writers});
    }
  }
}

vmm::SharedPage& GrantEntries::page_of(GrantRef ref) { return frames_[ref.raw() / entries_per_frame].page; }

std::size_t GrantEntries::offset_of(GrantRef ref) {
  return ref.raw() % entries_per_frame * sizeof(grant_entry_v1);
}

}  // namespace pinfold::devices
