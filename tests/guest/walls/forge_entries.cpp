// The validator approves everything, and the view protects nothing. The guest maps its own L1 writable
// and forges entries in it. The processor must still translate by the mirror, and the monitor must not
// use the forged entries.
#include <xen/version.h>

#include "kit/kit.hpp"

using namespace kit;

namespace {

void flush() {
  extended(MMUEXT_TLB_FLUSH_LOCAL, 0);
  extended(MMUEXT_NEW_BASEPTR, mfn_of(reinterpret_cast<void*>(info->pt_base)));
}

/// Forges a present entry: the window still shows the old page, and the monitor finds that
/// the entry has changed.
void replace(Page* table, Page* door, volatile Page* window, Page* hidden) {
  volatile u64& entry = static_cast<volatile Page*>(door)->words[slot_of(1, word(window))];
  const u64 before = entry;
  const u64 root = mfn_of(reinterpret_cast<void*>(info->pt_base));
  window->words[0] = 11;
  for (const u64 frame : {mfn_of(hidden), root, foreign_frame()}) {
    entry = frame * page_size | data;
    CHECK_EQ(static_cast<volatile Page*>(table)->words[slot_of(1, word(window))], frame * page_size | data);
    flush();
    CHECK_EQ(window->words[0], 11);
    window->words[1] = frame;
    CHECK_EQ(window->words[1], frame);
  }
  CHECK_EQ(hidden->words[1], 0);
  entry = before;
  CHECK(hypercall(__HYPERVISOR_xen_version, XENVER_capabilities, word(window)) >= 0);
  CHECK_EQ(hidden->words[0], 0);
  say("the processor did not follow a forged entry");
  // The monitor does not use it either.
  entry = root * page_size | data;
  hypercall(__HYPERVISOR_xen_version, XENVER_capabilities, word(window));
  say("the monitor WROTE through a forged entry");
}

/// Forges an entry that was not present: its use faults, and the monitor finds that it was never checked.
void fill(Page* door, u64 hole, u64 forged) {
  static_cast<volatile Page*>(door)->words[slot_of(1, hole)] = forged;
  flush();
  say("about to use the forged entry");
  *reinterpret_cast<volatile u64*>(hole) = 1;
  say("WROTE through a forged entry");
}

}  // namespace

void test() {
  install_traps();
  cr2();
  Page* window = new_page();
  Page* hidden = new_page();
  Page* door = new_page();
  const u64 hole = unmapped_address();
  Page* table = table_of(1, word(window));
  CHECK(table == table_of(1, hole));
  if (map(door, mfn_of(table) * page_size | data) != 0) {
    say("the validator stands");
    return;
  }
  if (asked_for("new")) fill(door, hole, mfn_of(hidden) * page_size | data);
  if (asked_for("clean")) fill(door, hole, mfn_of(hidden) * page_size | present | writable);
  if (asked_for("foreign")) fill(door, hole, foreign_frame() * page_size | present | writable);
  replace(table, door, window, hidden);
  CHECK_EQ(map(door, mfn_of(door) * page_size | data), 0);
}
