// An entry of a grant table that its guest changes each time that the monitor is about to mark it (XSA-295).
#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "devices/grant_entries.hpp"
#include "devices/xen_abi.hpp"
#include "fake_machine.hpp"
#include "vmm/memory/frame_holds.hpp"

namespace pinfold::devices {
namespace {

constexpr std::uint32_t ref = 9;
constexpr std::uint64_t granted_frame = 7;
constexpr int most_changes = 100;

/// A table whose frame counts as not writable: so a page of it reports each attempt to store, and the test
/// changes the entry between the look at it and the store.
class ChangingEntry : public testing::Test, public vmm::SharedFrameSource {
 protected:
  ChangingEntry() {
    EXPECT_TRUE(entries.grow(domain.held, 1));
    facts().type = pvmmu::FrameType::seg_desc;
  }
  ~ChangingEntry() override {
    entries.drop();
    facts().type = pvmmu::FrameType::writable;
    holds.settle(domain.held);
  }
  [[nodiscard]] tl::expected<vmm::SharedFrame, Errno> allocate(pvmmu::Held held) override {
    auto page = holds.hold(held, frame);
    if (!page) return fail(Errno::enomem);
    return vmm::SharedFrame{frame, std::move(*page)};
  }
  void write(std::uint32_t flags) {
    machine.poke(frame, ref, pvmmu::Pte(flags | std::uint64_t{3} << 16 | granted_frame << 32));
  }
  /// The error of a use that begins; nothing: it began.
  [[nodiscard]] std::optional<Errno> use(GrantUse use, GrantSpan span) {
    changes = 0;
    const auto used = entries.acquire(GrantRef(ref), DomId(3), use, span);
    return used ? std::nullopt : std::optional(used.error());
  }
  [[nodiscard]] pvmmu::FrameFacts& facts() { return domain.records().facts(frame); }

  pvmmu::test::FakeMachine machine{16};
  pvmmu::test::FakeDomain domain{machine, DomId(1)};
  Mfn frame = domain.allocate();
  std::function<void()> change;
  int changes = 0;
  vmm::FrameHolds holds{domain.mmu, [this](Mfn, pvmmu::FrameType) {
                          if (change && ++changes <= most_changes) change();
                        }};
  GrantEntries entries{*this, 1};
};

TEST_F(ChangingEntry, is_given_up_after_five_attempts) {
  // Bits that permit everything before and after.
  change = [this] { write(GTF_permit_access | (changes % 2 != 0 ? GTF_PWT : GTF_PCD)); };
  for (const GrantUse how : {GrantUse::read, GrantUse::write})
    for (const GrantSpan span : {GrantSpan::mapping, GrantSpan::copy}) {
      write(GTF_permit_access);
      EXPECT_EQ(use(how, span), Errno::eagain);
      EXPECT_EQ(changes, 5);
      EXPECT_TRUE(entries.in_use().empty());
    }
}

TEST_F(ChangingEntry, is_judged_anew_at_each_attempt) {
  write(GTF_permit_access);
  change = [this] { write(GTF_permit_access | (changes == 3 ? GTF_readonly : GTF_PWT << changes)); };
  EXPECT_EQ(use(GrantUse::write, GrantSpan::mapping), Errno::eperm);
  EXPECT_EQ(changes, 3);
}

TEST_F(ChangingEntry, that_stays_is_used) {
  change = [] {};
  write(GTF_permit_access);
  ASSERT_EQ(use(GrantUse::read, GrantSpan::mapping), std::nullopt);
  EXPECT_EQ(entries.in_use().front().frame, Mfn(granted_frame));
  EXPECT_EQ(changes, 1);
  entries.release(GrantRef(ref), GrantUse::read);
}

}  // namespace
}  // namespace pinfold::devices
