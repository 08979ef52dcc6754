// No page table of the guest can be mapped writable, in any way. Read-only mappings are allowed.
#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

void test() {
  install_traps();
  Page* window = new_page();
  const u64 here = word(window);
  for (int level = 1; level <= 4; ++level) {
    Page* table = table_of(level, here);
    const u64 frame = mfn_of(table) * page_size;
    CHECK_EQ(map(table, frame | data), ebusy);   // where it is mapped already
    CHECK_EQ(map(window, frame | data), ebusy);  // elsewhere
    CHECK_EQ(set_entry(entry_address(1, here), frame | data), ebusy);
    CHECK_EQ(set_entry(entry_address(1, here), frame | data, MMU_PT_UPDATE_PRESERVE_AD), ebusy);
    CHECK_EQ(map(window, frame | (data & ~writable)), 0);
    CHECK_EQ(window->words[0], table->words[0]);
    // A control domain may always store into its L1s, with a check of the store.
    if (level > 1 || !is_dom0()) {
      const u64 kept = table->words[7];
      try_store(word(&window->words[7]), 0);
      CHECK_EQ(caught.vector, 14);
      CHECK_EQ(caught.error, 3);
      CHECK_EQ(table->words[7], kept);
    }
    CHECK_EQ(make_writable(window), 0);
  }
  // The window shows its own page again.
  window->words[0] = 42;
  CHECK_EQ(window->words[0], 42);
}
