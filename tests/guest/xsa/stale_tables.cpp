// XSA-286: one multicall maps an address, replaces the L1 that maps it, and maps the address again. The
// second mapping must be stored in the new L1, and the processor must use it. XSA-241, 401: after a frame
// became a table, a translation of an old writable mapping must not permit writes to it.
#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

constexpr u64 table = present | writable | user | accessed | dirty;

u64 frame_of(const void* page) { return mfn_of(page) * page_size; }

multicall_entry_t update_va(u64 va, u64 value, u64 flush) {
  multicall_entry_t call{};
  call.op = __HYPERVISOR_update_va_mapping;
  call.args[0] = va;
  call.args[1] = value;
  call.args[2] = flush;
  return call;
}

/// Replaces a table between two mappings of one address. Level 3: an L2 with its L1; level 2: an L1.
void exchanged_under_a_mapping(int level) {
  const u64 va = level == 2 ? 0xffffffffbfe00000 : 0xffffffff00000000 & ~0x3fffffffUL;
  Page *a = new_page(), *b = new_page();
  a->words[0] = 1;
  b->words[0] = 2;
  Page *l1[2] = {new_page(), new_page()}, *l2[2] = {new_page(), new_page()};
  u64 link[2];
  for (int i = 0; i < 2; ++i) {
    CHECK_EQ(make_read_only(l1[i]), 0);
    if (level == 3) {
      l2[i]->words[0] = frame_of(l1[i]) | table;
      CHECK_EQ(make_read_only(l2[i]), 0);
    }
    link[i] = frame_of(level == 3 ? l2[i] : l1[i]) | table;
  }
  const u64 slot = entry_address(level, va);
  CHECK_EQ(set_entry(slot, link[0]), 0);
  CHECK_EQ(map(va, frame_of(a) | data), 0);
  CHECK_EQ(*reinterpret_cast<volatile u64*>(va), 1);

  mmu_update_t exchange{slot, link[1]};
  multicall_entry_t calls[3] = {update_va(va, frame_of(a) | (data & ~writable), UVMF_NONE),
                                {},
                                update_va(va, frame_of(b) | data, UVMF_NONE)};
  calls[1].op = __HYPERVISOR_mmu_update;
  calls[1].args[0] = word(&exchange);
  calls[1].args[1] = 1;
  calls[1].args[3] = DOMID_SELF;
  CHECK_EQ(hypercall(__HYPERVISOR_multicall, calls, 3), 0);
  for (const auto& call : calls) CHECK_EQ(call.result, 0);
  CHECK_EQ(l1[0]->words[0] & address_bits, frame_of(a));
  CHECK_EQ(l1[1]->words[0] & address_bits, frame_of(b));
  CHECK_EQ(*reinterpret_cast<volatile u64*>(va), 2);
  *reinterpret_cast<volatile u64*>(va) = 3;
  CHECK_EQ(a->words[0], 1);
  CHECK_EQ(b->words[0], 3);
  CHECK_EQ(set_entry(slot, 0), 0);
  try_load(va);
  CHECK_EQ(caught.vector, 14);
}

/// The guest writes a page, makes it read-only without a flush, and pins it. The old
/// translation must be gone.
void pinned_without_a_flush() {
  for (u32 command : {MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L4_TABLE}) {
    Page* page = new_page();
    volatile u64& word0 = page->words[0];
    word0 = 0;
    CHECK_EQ(hypercall(__HYPERVISOR_update_va_mapping, page, frame_of(page) | (data & ~writable), UVMF_NONE),
             0);
    CHECK_EQ(extended(command, mfn_of(page)), 0);
    try_store(word(page), frame_of(page) | data);
    CHECK_EQ(caught.vector, 14);
    CHECK_EQ(word0, 0);
    CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(page)), 0);
    CHECK_EQ(make_writable(page), 0);
  }
}

/// The same with a descriptor table.
void descriptors_without_a_flush() {
  Page* gdt = new_page();
  gdt->words[1] = 0;
  CHECK_EQ(hypercall(__HYPERVISOR_update_va_mapping, gdt, frame_of(gdt) | (data & ~writable), UVMF_NONE), 0);
  u64 frame = mfn_of(gdt);
  CHECK_EQ(hypercall(__HYPERVISOR_set_gdt, &frame, 512), 0);
  try_store(word(gdt), 0x0000890000000067);
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(hypercall(__HYPERVISOR_set_gdt, nullptr, 0), 0);
  CHECK_EQ(make_writable(gdt), 0);
}

}  // namespace

void test() {
  install_traps();
  cr2();
  exchanged_under_a_mapping(2);
  exchanged_under_a_mapping(3);
  pinned_without_a_flush();
  descriptors_without_a_flush();
}
