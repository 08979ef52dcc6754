// The resident path does what this guest asks for, not what it should (lying_gate/resident.cpp). The monitor
// has to notice, and nothing outside of the domain may be reached.
#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 forges_root = 3, forges_uses = 4, skips_mirror = 5, keeps_lock = 6, writes_mirror = 7;

/// The page's entry in its own L1.
u64 entry_for(const Page* page) { return entry_address(1, word(page)); }

}  // namespace

void test() {
  install_traps();
  Page* page = new_page();
  Page* other = new_page();
  page->words[0] = 1;
  other->words[0] = 2;
  const u64 was = entry_of(1, word(page));
  if (asked_for("forges-uses")) {
    // A writable mapping that nobody counts any more: the page becomes a table, and is written.
    CHECK_EQ(set_entry(mfn_of(page) * page_size, 0, forges_uses), 0);
    page->words[0] = 0;
    CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)), 0);
    say("about to write a table through a mapping that is not counted");
    page->words[0] = foreign_frame() * page_size | data;
    say("WROTE its own table");
  } else if (asked_for("too-many-uses")) {
    // Counts that are too high keep a frame; the audit finds them.
    CHECK_EQ(set_entry(mfn_of(page) * page_size, 5UL << 32 | 5, forges_uses), 0);
    say("leaves counts that are too high");
  } else if (asked_for("skips-mirror")) {
    // An entry for a frame that is not the domain's: the processor never sees it, and the monitor does not
    // drop it.
    CHECK_EQ(set_entry(entry_for(page), foreign_frame() * page_size | data, skips_mirror), 0);
    CHECK_EQ(page->words[0], 1);
    say("about to clear an entry that was never checked");
    set_entry(entry_for(page), 0);
    say("the monitor BELIEVED the entry");
  } else if (asked_for("wild-entry")) {
    // The number of no frame at all, far outside of every record.
    CHECK_EQ(set_entry(entry_for(page), 0x000ffffff0000000 | data, skips_mirror), 0);
    say("about to clear an entry that was never checked");
    set_entry(entry_for(page), 0);
    say("the monitor BELIEVED the entry");
  } else if (asked_for("forges-kernel-root") || asked_for("forges-user-root") ||
             asked_for("roots-are-data")) {
    // The monitor would take a reference for it, and drop one of the real root's.
    const u64 frame = asked_for("roots-are-data") ? mfn_of(page) : foreign_frame();
    say("about to leave on another root");
    CHECK_EQ(set_entry(frame * page_size, asked_for("forges-user-root") ? 1 : 0, forges_root), 0);
    extended(MMUEXT_PIN_L1_TABLE, mfn_of(other));
    say("the monitor did NOT notice");
  } else if (asked_for("keeps-lock")) {
    say("about to leave with the lock");
    CHECK_EQ(set_entry(entry_for(page), 0, keeps_lock), 0);
    extended(MMUEXT_PIN_L1_TABLE, mfn_of(other));
    say("the monitor did NOT notice");
  } else {
    // The processor follows a mirror that the gate wrote; the view covers the domain's own frames only.
    CHECK_EQ(set_entry(entry_for(page), foreign_frame() * page_size | was % page_size | user, writes_mirror),
             0);
    extended(MMUEXT_TLB_FLUSH_LOCAL, 0);
    say("about to use a frame that is not its own");
    page->words[0] = 3;
    say("REACHED a frame that is not its own");
  }
}
