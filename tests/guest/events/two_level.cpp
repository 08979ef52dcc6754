// The 2-level ABI between two vCPUs: edges, masks, which vCPU is notified; polls; errors of port operations.
#include "events/ports.hpp"
#include "refused/errors.hpp"
#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

u32 command = 0, done = 0;
u32 port_to_send = 0;
u32 polled[129];

enum : u32 { send_once = 1, poll_for_it, send_until_closed };

/// The other vCPU executes one command at a time.
void second() {
  for (u32 seen = 0;; ++seen) {
    u32 now;
    while ((now = __atomic_load_n(&command, __ATOMIC_SEQ_CST)) == 0) {
    }
    if (now == send_once) send(port_to_send);
    if (now == poll_for_it) poll(&port_to_send, 1, now_ns() + 20 * second_ns);
    if (now == send_until_closed)
      while (send(port_to_send) == 0) {
      }
    __atomic_store_n(&command, 0, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
  }
}

void tell(u32 what) { __atomic_store_n(&command, what, __ATOMIC_SEQ_CST); }
bool done_within_20_s() {
  const u64 limit = now_ns() + 20 * second_ns;
  while (__atomic_load_n(&command, __ATOMIC_SEQ_CST) != 0)
    if (now_ns() > limit) return false;
  return true;
}

void edges_and_masks() {
  const u32 port = bind_ipi(0);
  two_level::set_mask(port, false);
  two_level::take_upcall(0);
  CHECK_EQ(send(port), 0);
  CHECK(two_level::is_pending(port) && upcall_pending(0));
  CHECK_EQ(two_level::selector(0), 1UL << port / 64);
  // A second event while the first is pending changes nothing.
  two_level::take_upcall(0);
  CHECK_EQ(send(port), 0);
  CHECK(!upcall_pending(0));
  CHECK_EQ(two_level::selector(0), 0);
  // The selector is still set, so there is no second upcall.
  two_level::clear_pending(port);
  info_of(0).evtchn_pending_sel = 1UL << port / 64;
  CHECK_EQ(send(port), 0);
  CHECK(!upcall_pending(0));
  two_level::clear_pending(port);
  two_level::take_upcall(0);
  // A masked event is only pending. Unmasking delivers it, once.
  two_level::set_mask(port, true);
  CHECK_EQ(send(port), 0);
  CHECK(two_level::is_pending(port) && !upcall_pending(0));
  CHECK_EQ(two_level::selector(0), 0);
  CHECK_EQ(unmask(port), 0);
  CHECK(upcall_pending(0));
  two_level::take_upcall(0);
  CHECK_EQ(unmask(port), 0);
  CHECK(!upcall_pending(0));
  two_level::clear_pending(port);
  CHECK_EQ(close(port), 0);
}

void who_is_notified() {
  const u32 to_second = bind_ipi(1);
  const u32 mine = bind_ipi(0);
  const u32 virq = bind_virq(VIRQ_DEBUG, 1);
  two_level::set_mask(to_second, false);
  two_level::take_upcall(0);
  two_level::take_upcall(1);
  CHECK_EQ(send(to_second), 0);
  CHECK(upcall_pending(1) && !upcall_pending(0));
  for (u32 port : {to_second, mine, virq}) CHECK_EQ(bind_vcpu(port, 0), einval);
  CHECK_EQ(bind_vcpu(info->console.domU.evtchn, 2), enoent);
  CHECK_EQ(bind_vcpu(info->console.domU.evtchn, ~0U), enoent);
  CHECK_EQ(bind_vcpu(info->console.domU.evtchn, 1), 0);
  CHECK_EQ(bind_vcpu(info->console.domU.evtchn, 0), 0);
  CHECK_EQ(bind_vcpu(4000, 0), einval);
  evtchn_bind_virq again{VIRQ_DEBUG, 1, 0};
  CHECK_EQ(channel_op(EVTCHNOP_bind_virq, again), eexist);
  for (u32 vcpu : {2U, 128U, ~0U}) {
    evtchn_bind_ipi ipi{vcpu, 0};
    CHECK_EQ(channel_op(EVTCHNOP_bind_ipi, ipi), enoent);
    evtchn_bind_virq timer{VIRQ_TIMER, vcpu, 0};
    CHECK_EQ(channel_op(EVTCHNOP_bind_virq, timer), enoent);
  }
  two_level::take_upcall(1);
  for (u32 port : {to_second, mine, virq}) CHECK_EQ(close(port), 0);
  CHECK(!two_level::is_pending(to_second));
}

void polls() {
  const u32 port = bind_ipi(0);
  // If the port is pending, a poll returns at once, masked or not.
  CHECK_EQ(send(port), 0);
  CHECK_EQ(poll(&port, 1, 0), 0);
  two_level::clear_pending(port);
  // Without an event a poll ends at its timeout.
  const u64 until = now_ns() + 10 * millisecond;
  CHECK_EQ(poll(&port, 1, until), 0);
  CHECK(now_ns() >= until);
  CHECK_EQ(poll(nullptr, 0, now_ns() + millisecond), 0);
  CHECK_EQ(poll(&port, 1, 1), 0);  // long past
  // A list of 128 ports is accepted. A longer one is refused without being read.
  for (u32& entry : polled) entry = port;
  CHECK_EQ(poll(polled, 128, now_ns() + millisecond), 0);
  CHECK_EQ(poll(polled, 129, now_ns() + millisecond), einval);
  CHECK_EQ(poll(polled, ~0U, 0), einval);
  CHECK_EQ(poll(reinterpret_cast<u32*>(unmapped_address()), 129, 0), einval);
  CHECK_EQ(poll(reinterpret_cast<u32*>(unmapped_address()), 1, 0), efault);
  polled[127] = 4096;
  CHECK_EQ(poll(polled, 128, 0), einval);

  // A masked port, with another vCPU as the sender; then a port that notifies the sender.
  // Polls of either return.
  for (u32 to : {0U, 1U}) {
    port_to_send = bind_ipi(to);
    const u64 limit = now_ns() + 20 * second_ns;
    tell(send_once);
    CHECK_EQ(poll(&port_to_send, 1, limit), 0);
    CHECK(now_ns() < limit);
    CHECK(two_level::is_pending(port_to_send));
    CHECK(done_within_20_s());
    CHECK_EQ(close(port_to_send), 0);
  }
  // The other way around: the second vCPU polls a port of vCPU 0.
  port_to_send = bind_ipi(0);
  const u64 begin = now_ns();
  tell(poll_for_it);
  while (now_ns() < begin + 5 * millisecond) {
  }
  CHECK_EQ(send(port_to_send), 0);
  CHECK(done_within_20_s());
  CHECK(now_ns() < begin + 15 * second_ns);
  CHECK_EQ(close(port_to_send), 0);
  CHECK_EQ(close(port), 0);
}

/// A port that is closed while another vCPU sends on it: that vCPU gets an error, and the number is free.
void closed_while_sent() {
  for (u32 round = 0; round < 50; ++round) {
    port_to_send = bind_ipi(0);
    tell(send_until_closed);
    for (u32 i = 0; i < round % 8; ++i) hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
    CHECK_EQ(close(port_to_send), 0);
    CHECK(done_within_20_s());
    CHECK(!two_level::is_pending(port_to_send));
    CHECK_EQ(close(port_to_send), einval);
    CHECK_EQ(send(port_to_send), einval);
    CHECK_EQ(unmask(port_to_send), einval);
  }
}

}  // namespace

void test() {
  install_traps();
  two_level::mask_all();
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context_of(second)), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  edges_and_masks();
  who_is_notified();
  polls();
  closed_while_sent();
}
