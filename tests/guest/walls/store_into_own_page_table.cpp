// The validator approves everything. The guest maps its own L1 writable and stores into it; the view must
// stop it. "by-hypercall": the monitor stores for it. "executes": the guest executes the table instead.
#include <xen/version.h>

#include "kit/kit.hpp"

using namespace kit;

void test() {
  install_traps();
  Page* window = new_page();
  Page* table = table_of(asked_for("l4") ? 4 : 1, word(window));
  if (map(window, mfn_of(table) * page_size | data) != 0) {
    say("the validator stands");
    return;
  }
  say("mapped its own table writable");
  CHECK_EQ(window->words[511], table->words[511]);
  if (asked_for("by-hypercall")) {
    const u64 before = table->words[0];
    CHECK(hypercall(__HYPERVISOR_xen_version, XENVER_capabilities, window) < 0);
    CHECK_EQ(table->words[0], before);
    say("the monitor did not store for it");
  }
  static_cast<volatile Page*>(window)->words[17] = 0x1234567;
  say("STORED into its own page table: ", hex(table->words[17]));
}
