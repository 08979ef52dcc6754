// While the guest shares a frame with the monitor, the frame is data: no request of the guest's makes it a
// page table or a descriptor page, or replaces it. Page tables and descriptor pages can't be shared.
#include <xen/grant_table.h>
#include <xen/memory.h>

#include "events/ports.hpp"
#include "kit/store_ring.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

constexpr long eacces = -13;
constexpr u64 table_entry = present | user | accessed;
constexpr u32 pins[] = {MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE};

/// Empty pinned tables of levels 2 to 4.
Page* upper[3];

long set_gdt(u64 frame) { return hypercall(__HYPERVISOR_set_gdt, &frame, 512); }

xen_memory_reservation one_extent(u64* list) {
  xen_memory_reservation r{};
  r.extent_start.p = list;
  r.nr_extents = 1;
  r.domid = DOMID_SELF;
  return r;
}

long give_back(u64 frame) {
  auto request = one_extent(&frame);
  return hypercall(__HYPERVISOR_memory_op, XENMEM_decrease_reservation, &request);
}

long exchange(u64 frame) {
  u64 out = 0;
  xen_memory_exchange request{};
  request.in = one_extent(&frame);
  request.out = one_extent(&out);
  return hypercall(__HYPERVISOR_memory_op, XENMEM_exchange, &request);
}

/// Pins a new table with an entry that refers to the frame, at each level.
void is_named_by_no_table(u64 frame) {
  static Page* page = new_page();
  page->words[9] = frame * page_size | table_entry;
  CHECK_EQ(make_read_only(page), 0);
  for (u32 pin : {MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE})
    CHECK(extended(pin, mfn_of(page)) < 0);
  CHECK_EQ(make_writable(page), 0);
}

/// Even with no writable mapping it can't become a page table or a descriptor page.
void stays_data(u64 frame) {
  for (u32 pin : pins) CHECK_EQ(extended(pin, frame), einval);
  for (const Page* table : upper) {
    CHECK(set_entry(mfn_of(table) * page_size + 5 * 8, frame * page_size | table_entry) < 0);
    CHECK_EQ(table->words[5], 0);
  }
  is_named_by_no_table(frame);
  CHECK_EQ(extended(MMUEXT_NEW_BASEPTR, frame), einval);
  CHECK_EQ(extended(MMUEXT_NEW_USER_BASEPTR, frame), einval);
  CHECK_EQ(set_gdt(frame), einval);
  CHECK_EQ(exchange(frame), einval);
}

/// The same for one of the guest's pages.
void page_stays_data(Page* page, u64 frame) {
  CHECK_EQ(map(page, frame * page_size | (data & ~writable)), 0);
  stays_data(frame);
  CHECK_EQ(map(page, frame * page_size | data), 0);
}

/// After the guest gave it back, the frame stays in the domain while it is shared.
void given_back_stays_data(Page* page, u64 frame) {
  CHECK_EQ(give_back(frame), 1);
  page_stays_data(page, frame);
  CHECK_EQ(give_back(frame), 0);
}

/// Tries to share a frame in each possible way.
using Share = long (*)(u64 frame);

void what_is_trusted_is_not_shared(Page* page, Share share, long refusal) {
  CHECK_EQ(make_read_only(page), 0);
  for (u32 pin : pins) {
    CHECK_EQ(extended(pin, mfn_of(page)), 0);
    CHECK_EQ(share(mfn_of(page)), refusal);
    CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(page)), 0);
  }
  CHECK_EQ(set_gdt(mfn_of(page)), 0);
  CHECK_EQ(share(mfn_of(page)), refusal);
  CHECK_EQ(hypercall(__HYPERVISOR_set_gdt, nullptr, 0), 0);
  CHECK_EQ(make_writable(page), 0);
}

void rings() {
  Page* console = page_of(info->console.domU.mfn);
  page_stays_data(store::page(), info->store_mfn);
  page_stays_data(console, info->console.domU.mfn);
  store::ask();
  CHECK_EQ(store::notify(), 0);
  CHECK(store::take() > sizeof(xsd_sockmsg));
  page_stays_data(store::page(), info->store_mfn);

  // A request is waiting, and the guest wants its reply written into a table.
  store::ask();
  page_stays_data(store::page(), info->store_mfn);
  CHECK_EQ(make_read_only(store::page()), 0);
  for (u32 pin : pins) CHECK_EQ(extended(pin, info->store_mfn), einval);
  CHECK_EQ(store::notify(), 0);
  CHECK_EQ(make_writable(store::page()), 0);
  CHECK(store::take() > sizeof(xsd_sockmsg));

  given_back_stays_data(store::page(), info->store_mfn);
  given_back_stays_data(console, info->console.domU.mfn);
  store::ask();
  CHECK_EQ(store::notify(), 0);
  CHECK(store::take() > sizeof(xsd_sockmsg));
  say("the rings go on");
}

void monitors_pages() {
  const u64 shared_info = info->shared_info / page_size;
  stays_data(shared_info);
  CHECK_EQ(give_back(shared_info), 0);
  stays_data(shared_info);

  u64 frame = 0;
  gnttab_setup_table setup{};
  setup.dom = DOMID_SELF;
  setup.nr_frames = 1;
  setup.frame_list.p = &frame;
  CHECK_EQ(hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_setup_table, &setup, 1), 0);
  CHECK_EQ(setup.status, 0);
  stays_data(frame);
  CHECK_EQ(give_back(frame), 0);
  Page* window = new_page();
  CHECK_EQ(map(window, frame * page_size | data), 0);
  window->words[1] = 0x1122334455660000;
  gnttab_swap_grant_ref swap{1, 2, 0};
  CHECK_EQ(hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_swap_grant_ref, &swap, 1), 0);
  CHECK_EQ(window->words[2], 0x1122334455660000);
  page_stays_data(window, frame);
  CHECK_EQ(make_writable(window), 0);
}

void event_queues() {
  Page *block = new_page(), *words = new_page(), *more = new_page();
  const auto init = [](u64 frame) { return fifo::init(0, frame, 0); };
  what_is_trusted_is_not_shared(block, init, einval);
  CHECK_EQ(init(mfn_of(block)), 0);
  page_stays_data(block, mfn_of(block));
  what_is_trusted_is_not_shared(words, fifo::expand, einval);
  for (u64& pair : words->words) pair = u64{fifo::masked} << 32 | fifo::masked;
  CHECK_EQ(fifo::expand(mfn_of(words)), 0);
  page_stays_data(words, mfn_of(words));
  CHECK_EQ(fifo::expand(mfn_of(more)), 0);
  given_back_stays_data(more, mfn_of(more));

  fifo::state().words = reinterpret_cast<u32*>(words);
  fifo::state().blocks[0] = reinterpret_cast<evtchn_fifo_control_block*>(block);
  const u32 port = bind_ipi(0);
  fifo::clear(port, fifo::masked);
  CHECK_EQ(send(port), 0);
  CHECK_EQ(fifo::take(0).first, port);
  page_stays_data(words, mfn_of(words));
  page_stays_data(block, mfn_of(block));

  // After the reset of the queues the guest can use their frames for anything.
  CHECK_EQ(send(port), 0);
  evtchn_reset reset{DOMID_SELF};
  CHECK_EQ(channel_op(EVTCHNOP_reset, reset), 0);
  for (Page* page : {block, words}) {
    *page = {};
    CHECK_EQ(make_read_only(page), 0);
    for (u32 pin : pins) {
      CHECK_EQ(extended(pin, mfn_of(page)), 0);
      CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(page)), 0);
    }
    CHECK_EQ(make_writable(page), 0);
  }
  // This frame was given back: without its last mapping it belongs to no domain.
  const u64 frame = mfn_of(more);
  CHECK_EQ(map(more, 0), 0);
  CHECK(map(more, frame * page_size | data) < 0);
}

long register_info(u64 frame) {
  vcpu_register_vcpu_info args{frame, 1024, 0};
  return hypercall(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, &args);
}

void a_vcpu_info() {
  Page* page = new_page();
  what_is_trusted_is_not_shared(page, register_info, eacces);
  CHECK_EQ(register_info(mfn_of(page)), 0);
  auto& here = *reinterpret_cast<vcpu_info_t*>(&page->words[128]);
  page_stays_data(page, mfn_of(page));
  here.evtchn_upcall_pending = 0;
  here.evtchn_pending_sel = 0;
  const u32 port = bind_ipi(0);
  two_level::clear_pending(port);
  two_level::set_mask(port, false);
  CHECK_EQ(send(port), 0);
  CHECK_EQ(here.evtchn_upcall_pending, 1);
  page_stays_data(page, mfn_of(page));
  // A second registration is refused, and holds no frame.
  Page* other = new_page();
  CHECK_EQ(register_info(mfn_of(other)), ebusy);
  CHECK_EQ(make_read_only(other), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(other)), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(other)), 0);
  CHECK_EQ(make_writable(other), 0);
  given_back_stays_data(page, mfn_of(page));
}

bool is_zero(const Page* page) {
  for (u64 w : page->words)
    if (w != 0) return false;
  return true;
}

/// Run-state and time areas are not shared frames: the monitor checks the page before each write.
void areas() {
  Page* page = new_page();
  const u64 run_state = word(page), time = word(&page->words[256]);
  CHECK_EQ(make_read_only(page), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)), 0);
  CHECK_EQ(hypercall(__HYPERVISOR_vcpu_op, VCPUOP_register_runstate_memory_area, 0, &run_state), 0);
  CHECK_EQ(hypercall(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_time_memory_area, 0, &time), 0);
  CHECK_EQ(poll(nullptr, 0, now_ns() + millisecond), 0);
  CHECK(is_zero(page));
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(page)), 0);
  CHECK_EQ(make_writable(page), 0);
  CHECK_EQ(poll(nullptr, 0, now_ns() + millisecond), 0);
  CHECK(page->words[1] != 0);
  CHECK_EQ(hypercall(__HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_time_memory_area, 0, &time), 0);
  CHECK(page->words[256] != 0);
}

}  // namespace

void test() {
  install_traps();
  shared();
  two_level::mask_all();
  mask_upcalls(0, true);
  for (u32 i = 0; i < 3; ++i) {
    upper[i] = new_page();
    CHECK_EQ(make_read_only(upper[i]), 0);
    CHECK_EQ(extended(pins[i + 1], mfn_of(upper[i])), 0);
  }
  rings();
  monitors_pages();
  areas();
  event_queues();
  a_vcpu_info();
}
