// The guest makes a page table of a frame that the monitor writes at any time, and makes the monitor write
// it: the xenstore ring ("store"), the console ring ("console"), a vcpu_info ("vcpu-info"), a FIFO control
// block ("block") or event words ("words"). The frames' types prevent this. Without them, the check before
// each store of the monitor does.
#include <xen/io/console.h>

#include "events/ports.hpp"
#include "kit/store_ring.hpp"

using namespace kit;

namespace {

/// Becomes an L1, in which all words are 0 or not present.
bool pin(const Page* page, u64 frame) {
  CHECK_EQ(map(page, frame * page_size | (data & ~writable)), 0);
  if (extended(MMUEXT_PIN_L1_TABLE, frame) != 0) {
    CHECK_EQ(map(page, frame * page_size | data), 0);
    say("the types stand");
    return false;
  }
  return true;
}

void store_ring() {
  store::ask();
  const bool pinned = pin(store::page(), info->store_mfn);
  CHECK_EQ(store::notify(), 0);
  CHECK(!pinned);
  CHECK(store::take() > sizeof(xsd_sockmsg));
}

void console_ring() {
  Page* page = page_of(info->console.domU.mfn);
  auto* ring = reinterpret_cast<xencons_interface*>(page);
  // The monitor has taken all output. Eight spaces and even indices are entries that are not present.
  for (u64 i = 0; i < 3072 / 8; ++i) page->words[i] = 0x2020202020202020;
  ring->out_prod = (ring->out_prod + 1) & ~1U;
  evtchn_send to_monitor{info->console.domU.evtchn};
  CHECK_EQ(channel_op(EVTCHNOP_send, to_monitor), 0);
  const u32 taken = ring->out_cons;
  ring->out_prod += 8;
  const bool pinned = pin(page, info->console.domU.mfn);
  CHECK_EQ(channel_op(EVTCHNOP_send, to_monitor), 0);
  CHECK(!pinned);
  CHECK(ring->out_cons >= taken + 8);
}

void a_vcpu_info() {
  Page* page = new_page();
  vcpu_register_vcpu_info args{mfn_of(page), 0, 0};
  CHECK_EQ(hypercall(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, &args), 0);
  const u32 port = bind_ipi(0);
  two_level::set_mask(port, false);
  *page = {};
  const bool pinned = pin(page, mfn_of(page));
  CHECK_EQ(send(port), 0);
  CHECK(!pinned);
  CHECK_EQ(page->words[0] & 1, 1);
}

/// With the control block, or with the event words.
void event_queue(bool words) {
  fifo::set_up(1);
  const u32 port = bind_ipi(0);
  Page* page =
      words ? reinterpret_cast<Page*>(fifo::state().words) : reinterpret_cast<Page*>(fifo::state().blocks[0]);
  fifo::clear(port, fifo::masked);
  const bool pinned = pin(page, mfn_of(page));
  CHECK_EQ(send(port), 0);
  CHECK(!pinned);
  CHECK_EQ(fifo::take(0).first, port);
}

}  // namespace

void test() {
  install_traps();
  shared();
  two_level::mask_all();
  mask_upcalls(0, true);
  say("about to have a table written");
  if (asked_for("store")) store_ring();
  if (asked_for("console")) console_ring();
  if (asked_for("vcpu-info")) a_vcpu_info();
  if (asked_for("block")) event_queue(false);
  if (asked_for("words")) event_queue(true);
}
