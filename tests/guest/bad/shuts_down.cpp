// The guest ends itself with one of SCHEDOP_shutdown's reasons, which its command line names.
#include <xen/sched.h>

#include "kit/kit.hpp"

void test() {
  if (kit::asked_for("announced")) {
    // The reason that was announced first counts, not the one of the shutdown.
    for (unsigned reason : {SHUTDOWN_reboot, SHUTDOWN_crash}) {
      sched_shutdown announced{reason};
      CHECK_EQ(kit::hypercall(__HYPERVISOR_sched_op, SCHEDOP_shutdown_code, &announced), 0);
    }
    CHECK_EQ(kit::hypercall(__HYPERVISOR_sched_op, SCHEDOP_shutdown_code, kit::unmapped_address()), -14);
    kit::shut_down(SHUTDOWN_poweroff);
  }
  if (kit::asked_for("reboot")) kit::shut_down(SHUTDOWN_reboot);
  if (kit::asked_for("suspend")) kit::shut_down(SHUTDOWN_suspend);
  if (kit::asked_for("watchdog")) kit::shut_down(SHUTDOWN_watchdog);
  kit::shut_down(SHUTDOWN_crash);
}
