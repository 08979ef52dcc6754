// The guest returns to user mode, and never said which tables that has.
#include "kit/user_mode.hpp"

void test() {
  kit::say("about to enter user mode");
  kit::enter_user([] {}, kit::new_page(), kit::new_page());
}
