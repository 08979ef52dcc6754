// Entries with bits that their level does not allow, and entries in the hypervisor's slots.
#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

void test() {
  Page* page = new_page();
  const u64 frame = mfn_of(page) * page_size;
  const u64 here = word(page);
  const u64 table = present | user | accessed | dirty;

  // The L4 slots of Xen, also with a table that is valid in other slots, and with 0.
  const u64 l4 = mfn_of(reinterpret_cast<void*>(info->pt_base)) * page_size;
  const u64 l3 = mfn_of(table_of(3, here)) * page_size;
  for (u64 slot : {256, 260, 271}) {
    CHECK_EQ(set_entry(l4 + slot * 8, l3 | table), einval);
    CHECK_EQ(set_entry(l4 + slot * 8, 0), einval);
  }
  CHECK_EQ(set_entry(l4 + 255 * 8, l3 | table), 0);
  CHECK_EQ(set_entry(l4 + 255 * 8, 0), 0);
  CHECK_EQ(set_entry(l4 + 272 * 8, l3 | table), 0);
  CHECK_EQ(set_entry(l4 + 272 * 8, 0), 0);

  // Superpages, at both levels that processors have, over a present entry and over one that is not present.
  CHECK_EQ(set_entry(entry_address(2, here), frame | table | large), einval);
  CHECK_EQ(set_entry(entry_address(2, here), entry_of(2, here) | large), einval);
  CHECK_EQ(set_entry(entry_address(3, here), frame | table | large), einval);
  CHECK_EQ(set_entry(entry_address(4, here), l3 | table | large), einval);
  // An entry that is not present may have any other bits.
  CHECK_EQ(set_entry(entry_address(2, 0xffffffffbfe00000), frame | large), 0);
  CHECK_EQ(set_entry(entry_address(2, 0xffffffffbfe00000), 0), 0);

  // Tables of a wrong level, and entries that refer to their own table.
  const u64 l1 = mfn_of(table_of(1, here)) * page_size;
  const u64 l2 = mfn_of(table_of(2, here)) * page_size;
  CHECK_EQ(set_entry(entry_address(4, 0x1000), l2 | table), einval);
  CHECK_EQ(set_entry(entry_address(4, 0x1000), l1 | table), einval);
  CHECK_EQ(set_entry(entry_address(2, 0xffffffffbfe00000), l3 | table), einval);
  if (!is_dom0()) CHECK_EQ(set_entry(entry_address(4, 0x1000), l4 | table | writable), einval);

  // update_va_mapping of an address without an L1.
  CHECK_EQ(map(0x7654321000, frame | data), einval);
  CHECK_EQ(map(0xffff800000000000, frame | data), einval);
  CHECK_EQ(map(0x0001000000000000, frame | data), einval);
  // Commands and addresses of mmu_update.
  CHECK_EQ(set_entry(entry_address(1, here), frame | data, 4), enosys);
  CHECK_EQ(set_entry(entry_address(1, here), frame | data, 7), enosys);
  CHECK_EQ(extended(999, 0), enosys);
  page->words[0] = 1;
  CHECK_EQ(page->words[0], 1);
}
