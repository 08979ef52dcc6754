// A guest that grants frames, and what a backend has for using them: without a virtual machine.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "devices/granted_page.hpp"
#include "fakes.hpp"

namespace pinfold::devices {

/// Frames of the monitor for a grant table.
class FakeTableFrames : public vmm::SharedFrameSource {
 public:
  [[nodiscard]] tl::expected<vmm::SharedFrame, Errno> allocate(pvmmu::Held) override {
    return vmm::SharedFrame{Mfn(0x100), vmm::SharedPage::of_monitor()};
  }
};

/// Holds frames of a FakeTarget. What was dropped counts as held until it is settled.
class FakeHolder : public vmm::FrameHolder {
 public:
  explicit FakeHolder(FakeTarget& target) : target_(target) {}
  [[nodiscard]] tl::expected<vmm::SharedPage, Errno> hold(Mfn frame, vmm::FrameUse) override {
    if (frame.raw() >= FakeTarget::frame_count) return fail(Errno::einval);
    return target_.frames[frame.raw()].shared();
  }
  void settle() override {}

 private:
  FakeTarget& target_;
};

/// A guest with a grant table of 1,024 entries. Its frames are those of a FakeTarget.
class GrantingGuest {
 public:
  GrantingGuest() { (void)entries.grow(lock.held, 2); }

  /// As a guest writes an entry.
  void grant(std::uint32_t ref, std::uint64_t frame, unsigned flags = GTF_permit_access,
             std::uint16_t to = 0) {
    auto page = entries.frames()[ref / 512].page;
    page.store(ref % 512 * 8 + 4, static_cast<std::uint32_t>(frame));
    page.store(ref % 512 * 8, flags | std::uint32_t{to} << 16);
  }
  /// As a guest ends a grant: false if it is in use.
  bool revoke(std::uint32_t ref) {
    auto page = entries.frames()[ref / 512].page;
    const auto flags = page.load<std::uint16_t>(ref % 512 * 8);
    if ((flags & (GTF_reading | GTF_writing)) != 0) return false;
    auto expected = flags;
    return page.compare_exchange(ref % 512 * 8, expected, std::uint16_t{0});
  }
  [[nodiscard]] std::uint16_t flags(std::uint32_t ref) {
    return entries.frames()[ref / 512].page.load<std::uint16_t>(ref % 512 * 8);
  }
  [[nodiscard]] vmm::SharedPage frame(std::uint64_t number) { return target.frames[number].shared(); }
  [[nodiscard]] std::size_t users_of(std::uint64_t number) { return target.frames[number].users(); }
  [[nodiscard]] GrantAccess access() { return GrantAccess(entries, std::make_unique<FakeHolder>(target)); }

  FakeTarget target{1};
  FakeTableFrames table_frames;
  FakeLock lock;
  GrantEntries entries{table_frames, 2};
};

}  // namespace pinfold::devices
