#include "vmm/cpu/interrupt_shadow.hpp"

#include <gtest/gtest.h>

namespace pinfold::vmm {
namespace {

TEST(InterruptShadow, events_wait_in_a_shadow_only) {
  InterruptShadow shadow;
  EXPECT_FALSE(shadow.holds_events_back());
  shadow.stop();
  EXPECT_TRUE(shadow.holds_events_back());
  shadow.leave();
  EXPECT_FALSE(shadow.holds_events_back());
}

TEST(InterruptShadow, kvm_is_told_once_that_it_is_over) {
  InterruptShadow shadow;
  EXPECT_FALSE(shadow.end());
  shadow.stop();
  EXPECT_TRUE(shadow.end());
  EXPECT_FALSE(shadow.end());
  EXPECT_FALSE(shadow.holds_events_back());
}

TEST(InterruptShadow, registers_that_stay_leave_it_to_kvm) {
  InterruptShadow shadow;
  shadow.stop();
  shadow.leave();
  EXPECT_FALSE(shadow.end());
}

TEST(InterruptShadow, events_do_not_wait_for_ever) {
  InterruptShadow shadow;
  for (unsigned i = 0; i < InterruptShadow::most_stops; ++i) {
    shadow.leave();
    shadow.stop();
    EXPECT_TRUE(shadow.holds_events_back());
  }
  shadow.leave();
  shadow.stop();
  EXPECT_FALSE(shadow.holds_events_back());
  EXPECT_TRUE(shadow.end());
}

TEST(InterruptShadow, one_exit_outside_starts_the_count_anew) {
  InterruptShadow shadow;
  for (unsigned i = 0; i < 2 * InterruptShadow::most_stops; ++i) {
    if (i == InterruptShadow::most_stops) shadow.leave();
    shadow.leave();
    shadow.stop();
    EXPECT_TRUE(shadow.holds_events_back());
  }
}

}  // namespace
}  // namespace pinfold::vmm
