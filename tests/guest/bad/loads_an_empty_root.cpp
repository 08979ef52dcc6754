// The guest loads a valid root that maps nothing: the next instruction faults, and so does each handler.
#include "kit/kit.hpp"

using namespace kit;

void test() {
  install_traps();
  Page* root = new_page();
  CHECK_EQ(make_read_only(root), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L4_TABLE, mfn_of(root)), 0);
  say("about to load an empty root");
  extended(MMUEXT_NEW_BASEPTR, mfn_of(root));
}
