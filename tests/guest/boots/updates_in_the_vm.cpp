// Plain changes of page tables, thousands of each kind, each looked at afterwards: what the gate finishes in
// the VM where it can. The answers are those of a monitor, or of Xen.
#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 rounds = 500;
constexpr u64 not_canonical = 0x0000800000000000, hypervisors = 0xffff804000000000;

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

/// update_va_mapping, with a flush of the page: what is read through the address follows at once.
void by_address() {
  Page* const here = new_page();
  for (u64 n = 0; n < 8; ++n) pages[n]->words[0] = n;
  const u64 was = entry_of(1, word(here));
  for (u64 i = 0; i < rounds; ++i) {
    CHECK_EQ(map(here, naming(i, data)), 0);
    CHECK_EQ(static_cast<volatile Page*>(here)->words[0], i % 8);
  }
  const u64 foreign = foreign_frame() * page_size | data;
  CHECK(map(here, foreign) < 0);
  CHECK(hypercall(__HYPERVISOR_update_va_mapping, not_canonical, was, UVMF_INVLPG) < 0);
  CHECK(hypercall(__HYPERVISOR_update_va_mapping, hypervisors, was, UVMF_INVLPG) < 0);
  CHECK_EQ(map(here, was), 0);
}

/// The kernel's own stores to a read-only page of data are faults of its own, with the error code of a
/// kernel.
void faults() {
  Page* const page = new_page();
  CHECK_EQ(make_read_only(page), 0);
  for (u64 i = 0; i < rounds; ++i) {
    const u64 at = word(&page->words[i % 512]);
    try_store(at, 1);
    CHECK_EQ(caught.vector, 14);
    CHECK_EQ(caught.error, 3);
    CHECK_EQ(cr2(), at);
  }
  CHECK_EQ(make_writable(page), 0);
}

/// The roots of both modes, by one list, as Linux loads them. Only one of the kernel's two roots has an alias
/// of the kernel in another slot.
void roots() {
  constexpr u64 slot = 2;
  Page* const first = reinterpret_cast<Page*>(info->pt_base);
  Page* const second = new_page();
  second->words[511] = second->words[slot] = first->words[511];
  Page* const programs[2] = {new_page(), new_page()};
  for (Page* const root : {second, programs[0], programs[1]}) {
    CHECK_EQ(make_read_only(root), 0);
    CHECK_EQ(extended(MMUEXT_PIN_L4_TABLE, mfn_of(root)), 0);
  }
  static volatile u64 value;
  const u64 alias = (word(const_cast<u64*>(&value)) & ((1UL << 39) - 1)) | slot << 39;
  mmuext_op both[2] = {};
  both[0].cmd = MMUEXT_NEW_BASEPTR;
  both[1].cmd = MMUEXT_NEW_USER_BASEPTR;
  for (u64 i = 0; i < rounds; ++i) {
    const bool has_alias = i % 2 == 0;
    both[0].arg1.mfn = mfn_of(has_alias ? second : first);
    both[1].arg1.mfn = i % 8 == 7 ? 0 : mfn_of(programs[i % 2]);
    CHECK_EQ(hypercall(__HYPERVISOR_mmuext_op, both, 2, nullptr, DOMID_SELF), 0);
    value = i;
    if (has_alias) {
      CHECK_EQ(*reinterpret_cast<volatile u64*>(alias), i);
    } else {
      try_load(alias);
      CHECK_EQ(caught.vector, 14);
    }
  }
  // The second is no root: the first has been loaded all the same.
  both[0].arg1.mfn = mfn_of(second);
  both[1].arg1.mfn = mfn_of(table);
  CHECK(hypercall(__HYPERVISOR_mmuext_op, both, 2, nullptr, DOMID_SELF) < 0);
  value = 77;
  CHECK_EQ(*reinterpret_cast<volatile u64*>(alias), 77);
  // What a vCPU runs on stays a table, and what it has left does not.
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(second)), 0);
  CHECK(make_writable(second) < 0);
  CHECK_EQ(extended(MMUEXT_NEW_BASEPTR, mfn_of(first)), 0);
  CHECK_EQ(extended(MMUEXT_NEW_USER_BASEPTR, 0), 0);
  for (Page* const root : programs) CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(root)), 0);
  for (Page* const root : {second, programs[0], programs[1]}) CHECK_EQ(make_writable(root), 0);
}

multicall_entry_t a_call(u64 number, u64 first, u64 second, u64 third, u64 fourth = 0) {
  multicall_entry_t call{};
  call.op = number;
  call.result = 99;
  call.args[0] = first;
  call.args[1] = second;
  call.args[2] = third;
  call.args[3] = fourth;
  return call;
}
multicall_entry_t update_va(const Page* page, u64 entry) {
  return a_call(__HYPERVISOR_update_va_mapping, word(page), entry, UVMF_INVLPG);
}

/// Multicalls of nothing but such calls.
void multicalls() {
  static mmu_update_t list[4];
  static mmuext_op root[1];
  static multicall_entry_t calls[4];
  Page* const here = new_page();
  const u64 was = entry_of(1, word(here));
  root[0].cmd = MMUEXT_NEW_BASEPTR;
  root[0].arg1.mfn = mfn_of(reinterpret_cast<void*>(info->pt_base));
  for (u64 i = 0; i < rounds; ++i) {
    for (u64 k = 0; k < 4; ++k) list[k] = {place(k), i % 3 == 0 ? 0 : naming(i + k, data)};
    calls[0] = update_va(here, naming(i, data));
    calls[1] = a_call(__HYPERVISOR_mmu_update, word(list), 4, 0, DOMID_SELF);
    calls[2] = a_call(__HYPERVISOR_mmuext_op, word(root), 1, 0, DOMID_SELF);
    calls[3] = update_va(here, naming(i + 1, data));
    if (i % 2 == 0) calls[3].args[2] = UVMF_TLB_FLUSH;
    CHECK_EQ(hypercall(__HYPERVISOR_multicall, calls, 4), 0);
    for (const multicall_entry_t& call : calls) CHECK_EQ(call.result, 0);
    for (u64 k = 0; k < 4; ++k) CHECK(holds(k, list[k].val));
    CHECK_EQ(static_cast<volatile Page*>(here)->words[0], (i + 1) % 8);
  }
  // Two calls are refused, one of them in the midst of its list: the others are done.
  for (u64 bad = 1; bad < 4; ++bad) {
    for (u64 k = 0; k < 4; ++k) {
      CHECK_EQ(set_entry(place(k), 0), 0);
      list[k] = {place(k), naming(k + bad, data)};
    }
    list[bad].val = foreign_frame() * page_size | data;
    calls[0] = update_va(here, naming(bad, data));
    calls[1] = a_call(__HYPERVISOR_mmu_update, word(list), 4, 0, DOMID_SELF);
    calls[2] = update_va(reinterpret_cast<const Page*>(hypervisors), was);
    calls[3] = a_call(__HYPERVISOR_mmu_update, word(list), bad, 0, DOMID_SELF);
    CHECK_EQ(hypercall(__HYPERVISOR_multicall, calls, 4), 0);
    CHECK_EQ(calls[0].result, 0);
    CHECK(static_cast<long>(calls[1].result) < 0);
    CHECK(static_cast<long>(calls[2].result) < 0);
    CHECK_EQ(calls[3].result, 0);
    CHECK_EQ(static_cast<volatile Page*>(here)->words[0], bad);
    for (u64 k = 0; k < 4; ++k) CHECK(holds(k, k < bad ? list[k].val : 0));
  }
  // A list, and then a call, that can't be read.
  Page* const gone = new_page();
  const u64 of_gone = entry_of(1, word(gone));
  CHECK_EQ(map(gone, 0), 0);
  calls[0] = update_va(here, naming(3, data));
  calls[1] = a_call(__HYPERVISOR_mmu_update, word(gone), 1, 0, DOMID_SELF);
  CHECK_EQ(hypercall(__HYPERVISOR_multicall, calls, 2), 0);
  CHECK_EQ(calls[0].result, 0);
  CHECK(static_cast<long>(calls[1].result) < 0);
  CHECK(hypercall(__HYPERVISOR_multicall, gone, 1) < 0);
  CHECK_EQ(map(gone, of_gone), 0);
  // One that gets no result, since it can't be written.
  *reinterpret_cast<multicall_entry_t*>(gone) = update_va(here, naming(5, data));
  CHECK_EQ(make_read_only(gone), 0);
  CHECK(hypercall(__HYPERVISOR_multicall, gone, 1) < 0);
  CHECK_EQ(make_writable(gone), 0);
  CHECK_EQ(map(here, was), 0);
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
  by_address();
  faults();
  roots();
  multicalls();
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(table)), 0);
}
