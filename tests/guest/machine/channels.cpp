// Event channels between two guests of one machine. The one that leads opens ports, the other one connects to
// them. With "fifo" this guest has the FIFO ABI; with "reset" the follower's last connection ends by
// EVTCHNOP_reset, otherwise with the follower's life.
#include "events/ports.hpp"
#include "machine/meeting.hpp"
#include "refused/errors.hpp"

using namespace kit;
using meeting::hear;
using meeting::meet;
using meeting::other;
using meeting::tell;

namespace {

constexpr long enospc = -28;
constexpr u16 nobody = 77;
constexpr u32 rounds = 200;
constexpr u64 patience = 90 * second_ns;

bool has_fifo = false;
u32 awaited = 0;
bool came = false;

bool take(u32 port) {
  if (has_fifo) return (fifo::clear(port, fifo::pending) & fifo::pending) != 0;
  const bool was = two_level::is_pending(port);
  if (was) two_level::clear_pending(port);
  return was;
}
void set_mask(u32 port, bool on) {
  if (!has_fifo) return two_level::set_mask(port, on);
  if (on)
    __atomic_or_fetch(&fifo::state().words[port], fifo::masked, __ATOMIC_SEQ_CST);
  else
    fifo::clear(port, fifo::masked);
}
void on_event(Frame& frame) {
  CHECK_EQ(frame.vector, event_vector);
  if (has_fifo) {
    came = fifo::take(0).count != 0 || came;
  } else {
    two_level::take_upcall(0);
    came = take(awaited) || came;
  }
}

evtchn_status_t status_of(u32 port) {
  evtchn_status_t args{};
  args.dom = DOMID_SELF;
  args.port = port;
  CHECK_EQ(channel_op(EVTCHNOP_status, args), 0);
  return args;
}
u32 listen_for(u32 domain) {
  evtchn_alloc_unbound args{DOMID_SELF, static_cast<domid_t>(domain), 0};
  CHECK_EQ(channel_op(EVTCHNOP_alloc_unbound, args), 0);
  CHECK_EQ(status_of(args.port).status, EVTCHNSTAT_unbound);
  CHECK_EQ(status_of(args.port).u.unbound.dom, domain);
  return args.port;
}
long connect(u32 domain, u32 port, u32* local = nullptr) {
  evtchn_bind_interdomain args{static_cast<domid_t>(domain), port, 0};
  const long done = channel_op(EVTCHNOP_bind_interdomain, args);
  if (local != nullptr) *local = args.local_port;
  return done;
}
void is_connected(u32 port, u32 peer) {
  const auto status = status_of(port);
  CHECK_EQ(status.status, EVTCHNSTAT_interdomain);
  CHECK_EQ(status.u.interdomain.dom, other());
  CHECK_EQ(status.u.interdomain.port, peer);
}
void is_unbound_in_time(u32 port) {
  const u64 limit = now_ns() + patience;
  while (status_of(port).status != EVTCHNSTAT_unbound && now_ns() < limit)
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
  CHECK_EQ(status_of(port).status, EVTCHNSTAT_unbound);
  CHECK_EQ(status_of(port).u.unbound.dom, other());
  CHECK_EQ(send(port), 0);  // dropped
}

/// Until its number is no domain's any more.
void waits_for_its_end() {
  const u64 limit = now_ns() + patience;
  long last_answer = 0;
  while ((last_answer = connect(other(), 1)) == einval && now_ns() < limit)
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
  CHECK_EQ(last_answer, esrch);
}

/// What belongs to a neighbour, or to no domain, is refused. Nothing is learned of the neighbour's ports.
void refusals() {
  for (const u32 domain : {0U, u32{nobody}, u32{DOMID_IO}, u32{DOMID_XEN}, u32{DOMID_INVALID}, 0xffffU}) {
    CHECK_EQ(connect(domain, 1), esrch);
    evtchn_alloc_unbound listen{static_cast<domid_t>(domain), static_cast<domid_t>(other()), 0};
    CHECK_EQ(channel_op(EVTCHNOP_alloc_unbound, listen), esrch);
  }
  evtchn_alloc_unbound listen{static_cast<domid_t>(other()), static_cast<domid_t>(meeting::self()), 0};
  CHECK_EQ(channel_op(EVTCHNOP_alloc_unbound, listen), eperm);
  evtchn_reset reset{static_cast<domid_t>(other())};
  CHECK_EQ(channel_op(EVTCHNOP_reset, reset), eperm);
  for (u32 port = 0; port < 16; ++port) {
    evtchn_status_t status{};
    status.dom = static_cast<domid_t>(other());
    status.port = port;
    CHECK_EQ(channel_op(EVTCHNOP_status, status), eperm);
  }
}

/// Each of the two waits for the other's event: `rounds` turns in each way of waiting.
void turns(u32 port) {
  const auto wait_running = [port] {
    while (!take(port)) asm volatile("pause");
  };
  const auto wait_polling = [port] {
    while (!take(port)) CHECK_EQ(poll(&port, 1, now_ns() + patience), 0);
  };
  const auto wait_asleep = [] {
    while (mask_upcalls(0, true), !came) block();
    came = false;
  };
  const auto play = [port](auto wait) {
    for (u32 i = 0; i < rounds; ++i) {
      if (meeting::leads()) CHECK_EQ(send(port), 0);
      wait();
      if (!meeting::leads()) CHECK_EQ(send(port), 0);
    }
  };
  take(port);
  meet("running");
  play(wait_running);
  meet("polling");
  play(wait_polling);
  meet("ready");
  awaited = port;
  came = false;
  two_level::take_upcall(0);
  if (has_fifo) fifo::take(0);
  set_mask(port, false);
  meet("asleep");
  play(wait_asleep);
  set_mask(port, true);
}

/// A masked port becomes pending without an upcall; unmasking makes up for it.
void masks(u32 port) {
  two_level::take_upcall(0);
  take(port);
  meet("masked");
  if (!meeting::leads()) {
    CHECK_EQ(send(port), 0);
    return meet("sent");
  }
  meet("sent");
  // The store's own events are masked, too: its port has no upcall either.
  CHECK(!upcall_pending(0));
  mask_upcalls(0, true);
  CHECK_EQ(unmask(port), 0);
  CHECK(upcall_pending(0));
  set_mask(port, true);
  if (has_fifo) CHECK_EQ(fifo::take(0).count, 0);  // masked again before it was taken
  two_level::take_upcall(0);
  CHECK(take(port));
}

/// One guest takes all ports that it can have; the other one still opens and connects its own.
void exhaustion(u32 port) {
  if (meeting::leads()) {
    meet("exhausted");
    const u32 mine = listen_for(other());
    CHECK_EQ(close(mine), 0);
    CHECK_EQ(send(port), 0);
    return meet("relieved");
  }
  static u32 taken[4096];
  u32 count = 0;
  evtchn_alloc_unbound args{DOMID_SELF, static_cast<domid_t>(other()), 0};
  while (count < 4096 && channel_op(EVTCHNOP_alloc_unbound, args) == 0) taken[count++] = args.port;
  if (!has_fifo) {
    CHECK(count > 4000 && count < 4096);
    CHECK_EQ(channel_op(EVTCHNOP_alloc_unbound, args), enospc);
    // As on Xen: a full table comes before a port that is none.
    CHECK_EQ(connect(other(), ~0U), enospc);
  }
  meet("exhausted");
  while (count != 0) CHECK_EQ(close(taken[--count]), 0);
  meet("relieved");
}

void lead() {
  tell("third", listen_for(nobody));
  tell("ipi", bind_ipi(0));
  const u32 port = listen_for(other());
  CHECK_EQ(send(port), 0);  // nobody hears it
  tell("port", port);
  is_connected(port, static_cast<u32>(hear("local")));
  masks(port);
  turns(port);
  exhaustion(port);

  meet("closing");
  is_unbound_in_time(port);
  tell("unbound", 1);
  is_connected(port, static_cast<u32>(hear("again")));
  CHECK_EQ(close(port), 0);
  CHECK_EQ(send(port), einval);
  tell("closed", 1);
  meet("closed-by-both");

  const u32 last = listen_for(other());
  tell("last", last);
  is_connected(last, static_cast<u32>(hear("thrice")));
  // The one that has lost its ports can't tell that it has seen the other one off.
  if (asked_for("reset")) {
    meeting::leave();
    return is_unbound_in_time(last);
  }
  meeting::stay();
  is_unbound_in_time(last);
  waits_for_its_end();
  const u32 mine = bind_ipi(0);
  CHECK_EQ(send(mine), 0);
  CHECK(take(mine));
}

void follow() {
  const auto port = static_cast<u32>(hear("port"));
  for (const u32 wrong : {0U, static_cast<u32>(hear("third")), static_cast<u32>(hear("ipi")), port + 100,
                          4095U, 4096U, 131071U, 131072U, ~0U, info->store_evtchn, info->console.domU.evtchn})
    CHECK_EQ(connect(other(), wrong), einval);
  u32 local = 0;
  CHECK_EQ(connect(other(), port, &local), 0);
  CHECK(take(local));  // what was sent before is made up for
  CHECK_EQ(connect(other(), port), einval);
  is_connected(local, port);
  tell("local", local);
  masks(local);
  turns(local);
  exhaustion(local);

  meet("closing");
  CHECK_EQ(close(local), 0);
  hear("unbound");
  CHECK_EQ(connect(other(), port, &local), 0);
  tell("again", local);
  hear("closed");
  is_unbound_in_time(local);
  CHECK_EQ(connect(other(), port), einval);
  meet("closed-by-both");

  CHECK_EQ(connect(other(), static_cast<u32>(hear("last")), &local), 0);
  tell("thrice", local);
  if (!asked_for("reset")) return meeting::leave();
  meeting::stay();
  evtchn_reset reset{DOMID_SELF};
  CHECK_EQ(channel_op(EVTCHNOP_reset, reset), 0);
  CHECK_EQ(send(local), einval);
  // The other one sees it while this guest is still there.
  waits_for_its_end();
}

}  // namespace

void test() {
  install_traps();
  on_trap = on_event;
  CHECK_EQ(hypercall(__HYPERVISOR_set_callbacks, kit_event_entry, 0, 0), 0);
  two_level::mask_all();
  mask_upcalls(0, true);
  has_fifo = asked_for("fifo");
  if (has_fifo) fifo::set_up(1);
  meet("here");
  refusals();
  meet("refused");
  meeting::leads() ? lead() : follow();
}
