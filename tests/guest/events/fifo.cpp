// The FIFO ABI in a running guest: order, priorities, masks, an upcall that wakes a sleeping vCPU; frames
// that may not hold its queues; words that the guest garbles, which harms only itself.
#include "events/ports.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

u64 upcalls = 0;
fifo::Taken taken;

void on_event(Frame& frame) {
  CHECK_EQ(frame.vector, event_vector);
  ++upcalls;
  taken = fifo::take(0);
}

void bad_places() {
  const u64 good = mfn_of(new_page());
  CHECK_EQ(fifo::expand(good), eopnotsupp);
  CHECK_EQ(fifo::init(7, good, 0), enoent);
  for (u32 offset : {1U, 4U, 4096U - 64, 4095U, 4096U, ~0U, ~7U})
    CHECK_EQ(fifo::init(0, good, offset), einval);
  for (u64 frame : {0UL, 1UL << 20, 1UL << 40, ~0UL}) CHECK_EQ(fifo::init(0, frame, 0), einval);
  for (int level = 1; level <= 4; ++level)
    CHECK_EQ(fifo::init(0, mfn_of(table_of(level, word(&upcalls))), 0), einval);
}

/// While a frame belongs to the queues, it can't become a page table.
void frames_stay_data(Page* words) {
  CHECK_EQ(make_read_only(words), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(words)), einval);
  CHECK_EQ(make_writable(words), 0);
}

void order_and_priorities() {
  const u32 ports[3] = {bind_ipi(0), bind_ipi(0), bind_ipi(0)};
  for (u32 port : ports) fifo::clear(port, fifo::masked);
  for (u32 port : ports) CHECK_EQ(send(port), 0);
  CHECK(upcall_pending(0));
  fifo::Taken got = fifo::take(0);
  CHECK_EQ(got.count, 3);
  CHECK_EQ(got.first, ports[0]);
  CHECK_EQ(got.last, ports[2]);

  evtchn_set_priority priority{ports[2], 0};
  CHECK_EQ(channel_op(EVTCHNOP_set_priority, priority), 0);
  priority.priority = 16;
  CHECK_EQ(channel_op(EVTCHNOP_set_priority, priority), einval);
  for (u32 port : ports) CHECK_EQ(send(port), 0);
  got = fifo::take(0);
  CHECK_EQ(got.count, 3);
  CHECK_EQ(got.first, ports[2]);
  CHECK_EQ(got.last, ports[1]);

  // A masked event is only pending, until it is unmasked.
  __atomic_or_fetch(&fifo::state().words[ports[0]], fifo::masked, __ATOMIC_SEQ_CST);
  CHECK_EQ(send(ports[0]), 0);
  CHECK_EQ(fifo::word_of(ports[0]) & (fifo::pending | fifo::linked), fifo::pending);
  CHECK(!upcall_pending(0));
  CHECK_EQ(unmask(ports[0]), 0);
  CHECK_EQ(fifo::take(0).count, 1);
  for (u32 port : ports) CHECK_EQ(close(port), 0);
}

void an_upcall_wakes() {
  const u32 timer = bind_virq(VIRQ_TIMER, 0);
  fifo::clear(timer, fifo::masked);
  const u64 deadline = now_ns() + 20 * millisecond;
  CHECK_EQ(set_timer(0, deadline), 0);
  while (upcalls == 0) block();
  mask_upcalls(0, true);
  CHECK(now_ns() >= deadline);
  CHECK_EQ(taken.first, timer);
  CHECK_EQ(close(timer), 0);
}

/// The guest garbles all words that it can write, between any two operations.
void garbled() {
  u64 random = 88172645463325252UL;
  const auto next = [&random] {
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    return static_cast<u32>(random);
  };
  u32 ports[16];
  for (u32& port : ports) port = bind_ipi(0);
  auto* block = reinterpret_cast<u32*>(fifo::state().blocks[0]);
  for (u32 round = 0; round < 400; ++round) {
    for (u32 i = 0; i < 64; ++i) fifo::state().words[i] = next();
    for (u32 i = 0; i < sizeof(evtchn_fifo_control_block) / 4; ++i) block[i] = next();
    CHECK_EQ(send(ports[next() % 16]), 0);
    CHECK_EQ(unmask(ports[next() % 16]), 0);
    evtchn_set_priority priority{ports[next() % 16], next() % 16};
    CHECK_EQ(channel_op(EVTCHNOP_set_priority, priority), 0);
  }
  for (u32 i = 0; i < 1024; ++i) fifo::state().words[i] = fifo::masked;
  for (u32 i = 0; i < sizeof(evtchn_fifo_control_block) / 4; ++i) block[i] = 0;
  for (u32& head : fifo::state().heads[0]) head = 0;
  for (u32 port : ports) CHECK_EQ(close(port), 0);
  info_of(0).evtchn_upcall_pending = 0;
}

}  // namespace

void test() {
  install_traps();
  on_trap = on_event;
  CHECK_EQ(hypercall(__HYPERVISOR_set_callbacks, kit_event_entry, 0, 0), 0);
  two_level::mask_all();
  bad_places();
  fifo::set_up(1);
  info_of(0).evtchn_upcall_pending = 0;
  CHECK_EQ(fifo::init(0, mfn_of(new_page()), 0), einval);
  frames_stay_data(reinterpret_cast<Page*>(fifo::state().words));
  order_and_priorities();
  an_upcall_wakes();
  garbled();
  order_and_priorities();

  // After a reset the guest can use the frames again, and the 2-level ABI is in force.
  evtchn_reset reset{DOMID_SELF};
  CHECK_EQ(channel_op(EVTCHNOP_reset, reset), 0);
  Page* words = reinterpret_cast<Page*>(fifo::state().words);
  *words = {};
  CHECK_EQ(make_read_only(words), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(words)), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(words)), 0);
  const u32 port = bind_ipi(0);
  CHECK_EQ(send(port), 0);
  CHECK(two_level::is_pending(port));
}
