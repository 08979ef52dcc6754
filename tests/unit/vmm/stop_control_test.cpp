// Who keeps a vCPU out of the guest, and the one step that it may be let make.
#include "vmm/cpu/stop_control.hpp"

#include <gtest/gtest.h>

namespace pinfold::vmm {
namespace {

struct Scene {
  StopControl stops;
  pvmmu::DomainMutex mutex;
  pvmmu::DomainLock held{mutex};
};

TEST(StopControl, each_reason_stands_for_itself) {
  Scene s;
  EXPECT_FALSE(s.stops.is_stopped());
  s.stops.stop(s.held, StopReason::user);
  s.stops.stop(s.held, StopReason::debugger);
  s.stops.stop(s.held, StopReason::debugger);
  s.stops.go_on(s.held, StopReason::debugger);
  EXPECT_TRUE(s.stops.is_stopped());
  EXPECT_TRUE(s.stops.is_stopped_by(StopReason::user));
  EXPECT_FALSE(s.stops.is_stopped_by(StopReason::debugger));
  s.stops.go_on(s.held, StopReason::user);
  EXPECT_FALSE(s.stops.is_stopped());
}

TEST(StopControl, a_step_is_armed_once_and_done_when_rip_has_moved) {
  Scene s;
  EXPECT_FALSE(s.stops.arm_step(s.held)) << "nobody asked for one";
  s.stops.step(s.held, 0x1000);
  EXPECT_TRUE(s.stops.is_stepping());
  EXPECT_TRUE(s.stops.arm_step(s.held));
  EXPECT_FALSE(s.stops.arm_step(s.held)) << "the flags are in the processor";
  EXPECT_FALSE(s.stops.has_stepped_to(0x1000)) << "a fault that was resolved";
  EXPECT_TRUE(s.stops.has_stepped_to(0x1002));
  EXPECT_TRUE(s.stops.cancel_step(s.held));
  EXPECT_FALSE(s.stops.is_stepping());
  EXPECT_FALSE(s.stops.has_stepped_to(0x1002));
  EXPECT_FALSE(s.stops.cancel_step(s.held));
}

TEST(StopControl, the_next_step_is_armed_anew) {
  Scene s;
  s.stops.step(s.held, 0x1000);
  EXPECT_TRUE(s.stops.arm_step(s.held));
  s.stops.step(s.held, 0x1002);
  EXPECT_TRUE(s.stops.arm_step(s.held));
  EXPECT_FALSE(s.stops.has_stepped_to(0x1002));
}

TEST(StopControl, a_vcpu_rests_until_its_thread_runs) {
  Scene s;
  EXPECT_TRUE(s.stops.at_rest());
  s.stops.set_at_rest(s.held, false);
  EXPECT_FALSE(s.stops.at_rest());
}

}  // namespace
}  // namespace pinfold::vmm
