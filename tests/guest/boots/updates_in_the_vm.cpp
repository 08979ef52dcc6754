// Plain changes of page tables, thousands of each kind, each looked at afterwards: what the gate finishes in
// the VM where it can. The answers are those of a monitor, or of Xen.
#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 rounds = 500;

Page* table = nullptr;
Page* pages[8];

u64 place(u64 slot) { return mfn_of(table) * page_size + 8 * slot; }
u64 naming(u64 n, u64 flags) { return mfn_of(pages[n % 8]) * page_size | flags; }
/// What is read back: Xen sets U and G in a leaf, and the processor may set A.
bool holds(u64 slot, u64 value) {
  const u64 found = static_cast<volatile Page*>(table)->words[slot];
  return value == 0 ? found == 0 : ((found ^ value) & (address_bits | present | writable | dirty)) == 0;
}

void one_by_one() {
  for (u64 i = 0; i < rounds; ++i) {
    const u64 slot = i % 512;
    CHECK_EQ(set_entry(place(slot), naming(i, data)), 0);
    CHECK(holds(slot, naming(i, data)));
    CHECK_EQ(set_entry(place(slot), naming(i + 1, data & ~writable)), 0);
    CHECK(holds(slot, naming(i + 1, data & ~writable)));
    // Accessed and dirty are kept.
    CHECK_EQ(set_entry(place(slot), naming(i + 1, present), MMU_PT_UPDATE_PRESERVE_AD), 0);
    CHECK(holds(slot, naming(i + 1, present | dirty)));
    CHECK_EQ(set_entry(place(slot), 0), 0);
    CHECK(holds(slot, 0));
  }
}

/// Lists of up to 32 requests, as long as Linux makes them.
void lists() {
  static mmu_update_t list[32];
  for (u64 i = 0; i < rounds; ++i) {
    const u64 count = 1 + i % 32;
    for (u64 k = 0; k < count; ++k) list[k] = {place((i + k) % 512), i % 3 == 0 ? 0 : naming(i + k, data)};
    CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, list, count, nullptr, DOMID_SELF), 0);
    for (u64 k = 0; k < count; ++k) CHECK(holds((i + k) % 512, list[k].val));
  }
  for (u64 slot = 0; slot < 512; ++slot) CHECK_EQ(set_entry(place(slot), 0), 0);
}

/// A list in which one request is refused: those before it are done, those behind it are not.
void lists_that_end_early() {
  static mmu_update_t list[8];
  for (u64 bad = 0; bad < 8; ++bad) {
    for (u64 k = 0; k < 8; ++k) list[k] = {place(k), naming(k, data)};
    list[bad].val = foreign_frame() * page_size | data;
    CHECK(hypercall(__HYPERVISOR_mmu_update, list, 8, nullptr, DOMID_SELF) < 0);
    for (u64 k = 0; k < 8; ++k) CHECK(holds(k, k < bad ? list[k].val : 0));
    for (u64 k = 0; k < 8; ++k) CHECK_EQ(set_entry(place(k), 0), 0);
  }
}

/// Linux's ptep_get_and_clear() and ptep_set_wrprotect(), by registers of all kinds.
void plain_stores() {
  volatile u64* const entries = table->words;
  for (u64 i = 0; i < rounds; ++i) {
    const u64 slot = i % 512;
    CHECK_EQ(set_entry(place(slot), naming(i, data)), 0);
    u64 flags = 0;
    asm volatile("lock andb $0xfd, %1; pushfq; popq %0" : "=r"(flags), "+m"(entries[slot]) : : "cc");
    CHECK(holds(slot, naming(i, data & ~writable)));
    CHECK_EQ(flags & 0x8d5, (entries[slot] & 0x80) != 0              ? 0x80
                            : __builtin_parity(entries[slot] & 0xff) ? 0
                                                                     : 4);
    u64 old = 0;
    if (i % 2 == 0)
      asm volatile("xchg %0, %1" : "+r"(old), "+m"(entries[slot]));
    else
      asm volatile("mov %2, %%r13; xchg %%r13, (%1); mov %%r13, %0"
                   : "=r"(old)
                   : "r"(&entries[slot]), "r"(0UL)
                   : "r13", "memory");
    CHECK_EQ((old ^ naming(i, data & ~writable)) & (address_bits | present | writable | dirty), 0);
    CHECK(holds(slot, 0));
  }
}

/// Entries of upper tables that are empty, and stay so.
void clear_what_is_clear() {
  const u64 top = mfn_of(reinterpret_cast<void*>(info->pt_base)) * page_size;
  for (u64 i = 0; i < rounds; ++i) CHECK_EQ(set_entry(top + 8 * 40, 0), 0);
  // Slots of the hypervisor's are refused, whatever is to become of them.
  CHECK(set_entry(top + 8 * 256, 0) < 0);
  CHECK(set_entry(top + 8 * 271, 0) < 0);
}

/// A page that was a table is data again.
void write_data() {
  Page* const former = new_page();
  CHECK_EQ(make_read_only(former), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(former)), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(former)), 0);
  for (u64 i = 0; i < rounds; ++i) {
    CHECK_EQ(set_entry(mfn_of(former) * page_size + 8 * (i % 512), i), 0);
    CHECK_EQ(static_cast<volatile Page*>(former)->words[i % 512], i);
  }
}

}  // namespace

void test() {
  install_traps();
  CHECK_EQ(hypercall(__HYPERVISOR_vm_assist, VMASST_CMD_enable, VMASST_TYPE_writable_pagetables), 0);
  for (Page*& page : pages) page = new_page();
  table = new_page();
  CHECK_EQ(make_read_only(table), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(table)), 0);
  one_by_one();
  lists();
  lists_that_end_early();
  plain_stores();
  clear_what_is_clear();
  write_data();
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(table)), 0);
}
