// A guest that makes event-channel calls at random, with its neighbour's numbers: ports, domains, priorities,
// event words. In the end its own ports work. "rounds=" says how many calls; with "reboot" the guest reboots
// then.
#include "events/ports.hpp"
#include "machine/meeting.hpp"

using namespace kit;

namespace {

u64 state = 0;
u32 any(u32 below) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return static_cast<u32>(state >> 20) % below;
}
domid_t any_domain() {
  const u32 domains[] = {0,
                         1,
                         2,
                         3,
                         meeting::self(),
                         meeting::other(),
                         meeting::other(),
                         meeting::other(),
                         777,
                         DOMID_SELF,
                         DOMID_IO,
                         DOMID_XEN,
                         0xffff};
  return static_cast<domid_t>(domains[any(sizeof domains / sizeof *domains)]);
}
u32 any_port() {
  const u32 far[] = {4095, 4096, 131071, 131072, ~0U};
  return any(16) == 0 ? far[any(5)] : any(24);
}
template <class Args>
void call(u32 operation, Args args) {
  (void)channel_op(operation, args);
}
void one() {
  switch (any(12)) {
    case 0: return call(EVTCHNOP_alloc_unbound, evtchn_alloc_unbound{DOMID_SELF, any_domain(), 0});
    case 1:
    case 2: return call(EVTCHNOP_bind_interdomain, evtchn_bind_interdomain{any_domain(), any_port(), 0});
    case 3: return call(EVTCHNOP_close, evtchn_close{any_port()});
    case 4: return call(EVTCHNOP_unmask, evtchn_unmask{any_port()});
    case 5: return call(EVTCHNOP_bind_vcpu, evtchn_bind_vcpu{any_port(), any(3)});
    case 6: return call(EVTCHNOP_set_priority, evtchn_set_priority{any_port(), any(17)});
    case 7: {
      evtchn_status_t status{};
      status.dom = any_domain();
      status.port = any_port();
      return call(EVTCHNOP_status, status);
    }
    case 8:
      if (any(400) == 0) call(EVTCHNOP_reset, evtchn_reset{any_domain()});
      return;
    case 9:
      for (u64& word : shared()->evtchn_mask) __atomic_store_n(&word, state, __ATOMIC_SEQ_CST);
      return;
    default: return call(EVTCHNOP_send, evtchn_send{any_port()});
  }
}

}  // namespace

void test() {
  install_traps();
  two_level::mask_all();
  state = 88172645463325252UL + meeting::self();
  for (u64 left = number_behind("rounds=", 20000); left != 0; --left) one();
  evtchn_reset reset{DOMID_SELF};
  CHECK_EQ(channel_op(EVTCHNOP_reset, reset), 0);
  const u32 port = bind_ipi(0);
  CHECK_EQ(send(port), 0);
  CHECK(two_level::is_pending(port));
  if (asked_for("reboot")) shut_down(SHUTDOWN_reboot);
}
