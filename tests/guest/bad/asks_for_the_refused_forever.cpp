// Makes refused requests without end: of one kind, or of all, as the command line says.
#include "kit/kit.hpp"

using namespace kit;

void test() {
  Page* window = new_page();
  const u64 table = mfn_of(table_of(1, word(window))) * page_size;
  say("about to ask");
  for (;;) {
    map(window, table | data);
    if (asked_for("mixed")) {
      set_entry(entry_address(2, word(window)), large | present);
      extended(MMUEXT_PIN_L1_TABLE, mfn_of(window));
    }
  }
}
