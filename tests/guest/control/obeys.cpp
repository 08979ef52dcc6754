// Powers off when it is asked to in its store (xen/docs/misc/xenstore-paths: ~/control/shutdown).
#include <xen/sched.h>

#include "kit/kit.hpp"
#include "kit/store_client.hpp"

using namespace kit;

void test() {
  store::write("control/feature-poweroff", "1");
  say("waiting");
  do {
    store::read("control/shutdown");
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
  } while (!store::same(store::reply.payload, "poweroff"));
  store::write("control/shutdown", "");
  shut_down(SHUTDOWN_poweroff);
}
