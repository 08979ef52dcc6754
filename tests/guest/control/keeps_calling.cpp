// Calls the monitor without end, so that it is seen whether the guest runs.
#include <xen/version.h>

#include "kit/kit.hpp"

using namespace kit;

void test() {
  say("calling");
  for (;;) hypercall(__HYPERVISOR_xen_version, XENVER_version, nullptr);
}
