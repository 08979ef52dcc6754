// The guest ends itself with one of SCHEDOP_shutdown's reasons, which its command line names.
#include <xen/sched.h>

#include "kit/kit.hpp"

void test() {
  if (kit::asked_for("reboot")) kit::shut_down(SHUTDOWN_reboot);
  if (kit::asked_for("suspend")) kit::shut_down(SHUTDOWN_suspend);
  if (kit::asked_for("watchdog")) kit::shut_down(SHUTDOWN_watchdog);
  kit::shut_down(SHUTDOWN_crash);
}
