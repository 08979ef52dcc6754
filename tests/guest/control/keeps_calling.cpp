// Makes hypercalls without end, so that a test can see whether the guest runs.
#include <xen/version.h>

#include "kit/kit.hpp"

using namespace kit;

void test() {
  say("calling");
  for (;;) hypercall(__HYPERVISOR_xen_version, XENVER_version, nullptr);
}
