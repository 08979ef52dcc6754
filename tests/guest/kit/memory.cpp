// The guest's frames and page tables, by way of the initial mapping.
#include "kit/kit.hpp"
#include "kit/neighbour.hpp"

namespace kit {
namespace {

constexpr u64 virt_base = 0xffffffff80000000;
constexpr u64 pages = 64;
Page store[pages];
u64 pages_used = 0;

const u64* p2m() { return reinterpret_cast<const u64*>(info->mfn_list); }

}  // namespace

Page* new_page() {
  if (pages_used == pages) {
    say("FAILED: the kit has no more pages");
    finish();
  }
  return &store[pages_used++];
}

u64 mfn_of(const void* va) { return p2m()[(word(va) - virt_base) / page_size]; }

u64 foreign_frame() {
  if (has_neighbour()) return neighbours_frame();
  u64 highest = 0;
  for (u64 pfn = 0; pfn < info->nr_pages; ++pfn)
    if (p2m()[pfn] > highest) highest = p2m()[pfn];
  const u64 next = highest + 1;
  return next == info->shared_info / page_size ? next + 1 : next;
}

Page* page_of(u64 mfn) {
  for (u64 pfn = 0; pfn < info->nr_pages; ++pfn)
    if (p2m()[pfn] == mfn) return reinterpret_cast<Page*>(virt_base + pfn * page_size);
  return nullptr;
}

u64 slot_of(int level, u64 va) { return va >> (12 + 9 * (level - 1)) & 511; }

Page* table_of(int level, u64 va) {
  auto* table = reinterpret_cast<Page*>(info->pt_base);
  for (int at = 4; at > level && table != nullptr; --at) {
    const u64 entry = table->words[slot_of(at, va)];
    table = (entry & present) == 0 ? nullptr : page_of((entry & address_bits) / page_size);
  }
  return table;
}

u64 entry_address(int level, u64 va) {
  return mfn_of(table_of(level, va)) * page_size + slot_of(level, va) * 8;
}
u64 entry_of(int level, u64 va) { return table_of(level, va)->words[slot_of(level, va)]; }

long map(u64 va, u64 entry) {
  return hypercall(__HYPERVISOR_update_va_mapping, va, entry, UVMF_INVLPG | UVMF_LOCAL);
}
long map(const void* va, u64 entry) { return map(word(va), entry); }
long make_read_only(const void* page) { return map(page, mfn_of(page) * page_size | (data & ~writable)); }
long make_writable(const void* page) { return map(page, mfn_of(page) * page_size | data); }

long set_entry(u64 machine_address, u64 value, u64 command) {
  mmu_update_t request{machine_address | command, value};
  return hypercall(__HYPERVISOR_mmu_update, &request, 1, nullptr, DOMID_SELF);
}

long extended(u32 command, u64 mfn) {
  mmuext_op op{};
  op.cmd = command;
  op.arg1.mfn = mfn;
  return hypercall(__HYPERVISOR_mmuext_op, &op, 1, nullptr, DOMID_SELF);
}

u64 unmapped_address() {
  static Page* page = nullptr;
  if (page == nullptr) {
    page = new_page();
    CHECK_EQ(map(page, 0), 0);
  }
  return word(page);
}

}  // namespace kit
