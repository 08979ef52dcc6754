// User code faults, and the kernel has no handler.
#include "kit/user_mode.hpp"

using namespace kit;

void test() {
  load_user_root();
  say("about to enter user mode");
  enter_user(reinterpret_cast<void (*)()>(0x123456), new_page(), new_page());
}
