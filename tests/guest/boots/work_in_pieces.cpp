// The work of a multicall's calls counts together, of whatever kind they are: exchanges of frames, frames
// given back and allocated, lists of updates and of flushes. The guest's events are delivered in between, and
// each call has the same result as without interruption.
//
// Timing does not matter: in front of each call, which is less than the work at a stretch, is one that sends
// the guest an event. So an event is pending whenever one can be delivered.
#include <xen/memory.h>

#include "events/ports.hpp"

using namespace kit;

namespace {

constexpr u64 exchanges = 64, frames_each = 16, frames = exchanges * frames_each;
constexpr u64 not_answered = 0x5a5a;

u32 port = 0;
u64 upcalls = 0;
multicall_entry_t calls[2 * exchanges];
xen_memory_exchange exchange[exchanges];
u64 in[frames], out[frames], list[frames];
bool calling = false;
/// What the handler checks while the multicall is not finished.
void (*meanwhile)() = nullptr;

void on_event(Frame& frame) {
  CHECK_EQ(frame.vector, event_vector);
  __atomic_store_n(&info_of(0).evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST);
  __atomic_store_n(&info_of(0).evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
  two_level::clear_pending(port);
  if (!calling) return;
  const auto* next = reinterpret_cast<const u8*>(frame.rip);
  if (next[0] != 0x0f || next[1] != 0x05) return;  // not interrupted in front of a SYSCALL that is made again
  ++upcalls;
  if (meanwhile != nullptr) meanwhile();
}

void receive_events() {
  install_traps();
  on_trap = on_event;
  CHECK_EQ(hypercall(__HYPERVISOR_set_callbacks, kit_event_entry, 0, 0), 0);
  two_level::mask_all();
  port = bind_ipi(0);
  two_level::set_mask(port, false);
  __atomic_store_n(&info_of(0).evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST);
  __atomic_store_n(&info_of(0).evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
  mask_upcalls(0, false);
}

/// In front of each call is one that sends an event.
multicall_entry_t& call(u64 i) { return calls[2 * i + 1]; }

void set(multicall_entry_t& entry, u64 operation, u64 a = 0, u64 b = 0, u64 c = 0, u64 d = 0) {
  entry = multicall_entry_t{};
  entry.op = operation;
  entry.result = not_answered;
  const u64 args[] = {a, b, c, d};
  for (u64 k = 0; k < 4; ++k) entry.args[k] = args[k];
}

/// Makes the calls, and returns how often events were delivered before the result.
u64 make_calls(u64 count) {
  static evtchn_send event;
  event.port = port;
  for (u64 i = 0; i < count; ++i)
    set(calls[2 * i], __HYPERVISOR_event_channel_op, EVTCHNOP_send, word(&event));
  upcalls = 0;
  calling = true;
  CHECK_EQ(hypercall(__HYPERVISOR_multicall, calls, 2 * count), 0);
  calling = false;
  two_level::clear_pending(port);
  return upcalls;
}

xen_memory_reservation extents(u64* first, u64 count) {
  xen_memory_reservation r{};
  r.extent_start.p = first;
  r.nr_extents = count;
  r.domid = DOMID_SELF;
  return r;
}

long current() {
  domid_t self = DOMID_SELF;
  return hypercall(__HYPERVISOR_memory_op, XENMEM_current_reservation, &self);
}

u64 exchanged() {
  u64 sum = 0;
  for (const auto& x : exchange) sum += __atomic_load_n(&x.nr_exchanged, __ATOMIC_SEQ_CST);
  return sum;
}

/// Checks that all frames of `mfns` are the guest's, and different.
void check_frames(const u64* mfns) {
  Page* window = new_page();
  u64 good = 0;
  for (u64 i = 0; i < frames; ++i) good += map(window, mfns[i] * page_size | data) == 0;
  CHECK_EQ(good, frames);
  CHECK_EQ(map(window, 0), 0);
  u64 twice = 0;
  for (u64 i = 0; i < frames; ++i)
    for (u64 k = 0; k < i; ++k) twice += mfns[i] == mfns[k];
  CHECK_EQ(twice, 0);
}

u64 exchanged_before = 0;

/// 64 exchanges of 16 frames each. Each new frame takes the place of an old one.
void exchanges_in_pieces() {
  const long before = current();
  const auto* p2m = reinterpret_cast<const u64*>(info->mfn_list);
  for (u64 i = 0; i < frames; ++i) {
    const u64 pfn = info->nr_pages - 1 - i;
    in[i] = p2m[pfn];
    out[i] = pfn;
  }
  for (u64 i = 0; i < exchanges; ++i) {
    exchange[i] = xen_memory_exchange{};
    exchange[i].in = extents(in + i * frames_each, frames_each);
    exchange[i].out = extents(out + i * frames_each, frames_each);
    set(call(i), __HYPERVISOR_memory_op, XENMEM_exchange, word(&exchange[i]));
  }
  meanwhile = [] {
    CHECK(exchanged() >= exchanged_before && exchanged() <= frames);
    exchanged_before = exchanged();
  };
  const u64 served = make_calls(exchanges);
  meanwhile = nullptr;
  say("events served between the exchanges: ", static_cast<long>(served));
  if (!is_dom0()) CHECK(served >= 30);  // 60 frames given back and allocated at a stretch
  for (u64 i = 0; i < exchanges; ++i) {
    CHECK_EQ(call(i).result, 0);
    CHECK_EQ(exchange[i].nr_exchanged, frames_each);
  }
  CHECK_EQ(current(), before);
  check_frames(out);
}

/// As many exchanges of one frame each. None of them can be interrupted, so the multicall
/// has to stop between them.
void calls_that_do_not_stop_themselves() {
  for (u64 i = 0; i < exchanges; ++i) {
    in[i] = out[i];
    out[i] = info->nr_pages - 1 - i;
    exchange[i] = xen_memory_exchange{};
    exchange[i].in = extents(in + i, 1);
    exchange[i].out = extents(out + i, 1);
    set(call(i), __HYPERVISOR_memory_op, XENMEM_exchange, word(&exchange[i]));
  }
  const u64 served = make_calls(exchanges);
  say("events served between exchanges of one frame: ", static_cast<long>(served));
  if (!is_dom0()) CHECK(served >= 2);
  for (u64 i = 0; i < exchanges; ++i) CHECK_EQ(call(i).result, 0);
  check_frames(out);
}

/// Frames are given back, in an order without neighbours, which would leave the view together, and allocated
/// again.
void reservation_in_pieces() {
  const long before = current();
  constexpr u64 each = 32, pieces = frames / each;
  static xen_memory_reservation give[pieces], take[pieces];
  for (u64 i = 0; i < frames; ++i) list[i] = info->nr_pages - 1 - i;
  constexpr u64 step = 37;  // odd, so that each frame's turn comes once
  for (u64 i = 0; i < frames; ++i) in[i] = out[i * step % frames];
  for (u64 i = 0; i < pieces; ++i) {
    give[i] = extents(in + i * each, each);
    take[i] = extents(list + i * each, each);
    set(call(i), __HYPERVISOR_memory_op, XENMEM_decrease_reservation, word(&give[i]));
  }
  u64 served = make_calls(pieces);
  for (u64 i = 0; i < pieces; ++i) CHECK_EQ(call(i).result, each);
  CHECK_EQ(current(), before - static_cast<long>(frames));
  for (u64 i = 0; i < pieces; ++i)
    set(call(i), __HYPERVISOR_memory_op, XENMEM_populate_physmap, word(&take[i]));
  served += make_calls(pieces);
  for (u64 i = 0; i < pieces; ++i) CHECK_EQ(call(i).result, each);
  say("events served between frames given back and had again: ", static_cast<long>(served));
  if (!is_dom0()) CHECK(served >= 15);  // 60 frames given back at a stretch
  CHECK_EQ(current(), before);
  check_frames(list);
}

/// One call of many pieces. A list that stops at a bad frame has completed exactly the ones before it.
void the_piece_with_a_bad_frame() {
  const u64 bad = 700;
  const u64 kept = list[bad];
  list[bad] = ~0UL;
  static xen_memory_reservation give, take;
  give = extents(list, frames);
  set(call(0), __HYPERVISOR_memory_op, XENMEM_decrease_reservation, word(&give));
  (void)make_calls(1);
  CHECK_EQ(call(0).result, bad);
  for (u64 i = 0; i < bad; ++i) list[i] = info->nr_pages - 1 - i;
  take = extents(list, bad);
  set(call(0), __HYPERVISOR_memory_op, XENMEM_populate_physmap, word(&take));
  (void)make_calls(1);
  CHECK_EQ(call(0).result, bad);
  list[bad] = kept;
  check_frames(list);
}

/// 16 lists of 1,000 updates each: all are made and counted.
void lists_in_pieces() {
  constexpr u64 lists = 16, requests = 1000;
  static mmu_update_t updates[requests];
  static u32 done[lists];
  Page* window = new_page();
  const u64 frame = mfn_of(window);
  CHECK_EQ(map(window, 0), 0);
  for (u64 i = 0; i < requests; ++i) {
    updates[i].ptr = entry_address(1, word(window));
    updates[i].val = i % 2 == 0 ? frame * page_size | data : 0;
  }
  updates[requests - 1].val = frame * page_size | data;
  for (u64 i = 0; i < lists; ++i)
    set(call(i), __HYPERVISOR_mmu_update, word(updates), requests, word(&done[i]), DOMID_SELF);
  const u64 served = make_calls(lists);
  say("events served between lists of updates: ", static_cast<long>(served));
  if (!is_dom0()) CHECK(served >= 14);  // 1,024 a stretch
  for (u64 i = 0; i < lists; ++i) {
    CHECK_EQ(call(i).result, 0);
    CHECK_EQ(done[i], requests);
  }
  window->words[0] = 1;
}

/// The cost of a flush depends on the number of vCPUs.
void flushes_in_pieces() {
  constexpr u64 lists = 40, requests = 100;
  static mmuext_op ops[requests];
  static u32 done[lists];
  for (mmuext_op& op : ops) {
    op = mmuext_op{};
    op.cmd = MMUEXT_TLB_FLUSH_ALL;
  }
  for (u64 i = 0; i < lists; ++i)
    set(call(i), __HYPERVISOR_mmuext_op, word(ops), requests, word(&done[i]), DOMID_SELF);
  const u64 served = make_calls(lists);
  say("events served between flushes: ", static_cast<long>(served));
  constexpr u64 entries_a_stretch = 16384, entries_a_request = 16;
  const u64 entries = lists * requests * (entries_a_request + number_behind("vcpus=", 1));
  if (!is_dom0()) CHECK(served + 1 >= entries / entries_a_stretch);
  for (u64 i = 0; i < lists; ++i) {
    CHECK_EQ(call(i).result, 0);
    CHECK_EQ(done[i], requests);
  }
}

}  // namespace

void test() {
  receive_events();
  exchanges_in_pieces();
  calls_that_do_not_stop_themselves();
  reservation_in_pieces();
  the_piece_with_a_bad_frame();
  lists_in_pieces();
  flushes_in_pieces();
}
