// With writable page tables, a plain store to an entry of an L1, which is mapped read-only, is a
// checked update. If the update breaks a rule, the guest gets a page fault, and so it does for a
// store to a table above L1.
#include "kit/kit.hpp"

using namespace kit;

namespace {

void refused_store(u64* entry, u64 value) {
  const u64 before = *entry;
  try_store(word(entry), value);
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(caught.error, 3);
  CHECK_EQ(caught.address, word(entry));
  CHECK_EQ(*entry, before);
}

}  // namespace

void test() {
  install_traps();
  cr2();
  Page* window = new_page();
  Page* other = new_page();
  other->words[0] = 99;
  window->words[0] = 11;
  u64* entry = &table_of(1, word(window))->words[slot_of(1, word(window))];
  const u64 own = *entry;
  const u64 to_other = mfn_of(other) * page_size | data;

  if (!is_dom0()) refused_store(entry, to_other);  // not enabled yet; a control domain need not enable it
  CHECK_EQ(hypercall(__HYPERVISOR_vm_assist, VMASST_CMD_enable, VMASST_TYPE_writable_pagetables), 0);

  *static_cast<volatile u64*>(entry) = to_other;
  extended(MMUEXT_TLB_FLUSH_LOCAL, 0);
  CHECK_EQ(static_cast<volatile Page*>(window)->words[0], 99);
  CHECK_EQ(*entry & address_bits, to_other & address_bits);

  // The instructions of kernels: exchange, clear one bit, compare and exchange.
  const u64 old = __atomic_exchange_n(entry, own, __ATOMIC_SEQ_CST);
  CHECK_EQ(old & address_bits, to_other & address_bits);
  extended(MMUEXT_TLB_FLUSH_LOCAL, 0);
  CHECK_EQ(static_cast<volatile Page*>(window)->words[0], 11);
  asm volatile("lock andb $0xfd, %0" : "+m"(*entry)::"memory", "cc");
  extended(MMUEXT_TLB_FLUSH_LOCAL, 0);
  try_store(word(window), 12);
  CHECK_EQ(caught.vector, 14);
  u64 expected = *entry;
  CHECK(__atomic_compare_exchange_n(entry, &expected, own, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
  extended(MMUEXT_TLB_FLUSH_LOCAL, 0);
  try_store(word(window), 12);
  CHECK_EQ(caught.vector, Caught::none);

  // An entry that maps its own L1 writable, one with a cache attribute, one with a frame that is not RAM.
  refused_store(entry, mfn_of(table_of(1, word(window))) * page_size | data);
  refused_store(entry, mfn_of(reinterpret_cast<void*>(info->pt_base)) * page_size | data);
  if (!is_dom0()) {
    refused_store(entry, own | cache_disable);
    refused_store(entry, 0xfffffffffUL * page_size | data);
  }
  // Other levels.
  for (int level = 2; level <= 4; ++level) refused_store(&table_of(level, word(window))->words[100], 0);
  CHECK_EQ(*entry & address_bits, own & address_bits);

  CHECK_EQ(hypercall(__HYPERVISOR_vm_assist, VMASST_CMD_disable, VMASST_TYPE_writable_pagetables), 0);
  if (!is_dom0()) refused_store(entry, to_other);
}
