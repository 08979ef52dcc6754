// Entries with bits that their level does not allow, and the slots that are the hypervisor's.
#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

void test() {
  Page* page = new_page();
  const u64 frame = mfn_of(page) * page_size;
  const u64 here = word(page);
  const u64 table = present | user | accessed | dirty;

  // An L4's Xen slots, also with a table that would be valid elsewhere, and with nothing.
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

  // Superpages, at both levels that a processor knows; the one entry that is there, and one that is not.
  CHECK_EQ(set_entry(entry_address(2, here), frame | table | large), einval);
  CHECK_EQ(set_entry(entry_address(2, here), entry_of(2, here) | large), einval);
  CHECK_EQ(set_entry(entry_address(3, here), frame | table | large), einval);
  CHECK_EQ(set_entry(entry_address(4, here), l3 | table | large), einval);
  // Not present, anything goes.
  CHECK_EQ(set_entry(entry_address(2, 0xffffffffbfe00000), frame | large), 0);
  CHECK_EQ(set_entry(entry_address(2, 0xffffffffbfe00000), 0), 0);

  // Tables of the wrong level, and of their own.
  const u64 l1 = mfn_of(table_of(1, here)) * page_size;
  const u64 l2 = mfn_of(table_of(2, here)) * page_size;
  CHECK_EQ(set_entry(entry_address(4, 0x1000), l2 | table), einval);
  CHECK_EQ(set_entry(entry_address(4, 0x1000), l1 | table), einval);
  CHECK_EQ(set_entry(entry_address(2, 0xffffffffbfe00000), l3 | table), einval);
  if (!is_dom0()) CHECK_EQ(set_entry(entry_address(4, 0x1000), l4 | table | writable), einval);

  // An update of an address that no L1 translates.
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
