// The guest returns to user mode without having set a user root.
#include "kit/user_mode.hpp"

void test() {
  kit::say("about to enter user mode");
  kit::enter_user([] {}, kit::new_page(), kit::new_page());
}
