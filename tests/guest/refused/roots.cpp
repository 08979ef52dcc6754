// Only a validated L4 can be loaded as a root. After a refusal the old root stays loaded.
#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

void test() {
  Page* page = new_page();
  const u64 here = word(page);
  for (u32 command : {MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR}) {
    CHECK_EQ(extended(command, mfn_of(page)), einval);  // data, mapped writable
    for (int level = 1; level <= 3; ++level)
      CHECK_EQ(extended(command, mfn_of(table_of(level, here))), einval);
    CHECK_EQ(extended(command, 0xffffffffffff), einval);
  }
  // An L4 with an entry that is not allowed.
  page->words[0] = mfn_of(new_page()) * page_size | present;
  CHECK_EQ(make_read_only(page), 0);
  CHECK(extended(MMUEXT_NEW_BASEPTR, mfn_of(page)) < 0);
  CHECK_EQ(make_writable(page), 0);

  // A good one, with the kernel's own mappings. It can't be mapped writable while it is the root.
  page->words[0] = 0;
  page->words[511] = reinterpret_cast<const Page*>(info->pt_base)->words[511];
  CHECK_EQ(make_read_only(page), 0);
  CHECK_EQ(extended(MMUEXT_NEW_BASEPTR, mfn_of(page)), 0);
  CHECK_EQ(make_writable(page), ebusy);
  CHECK_EQ(extended(MMUEXT_NEW_BASEPTR, mfn_of(reinterpret_cast<void*>(info->pt_base))), 0);
  CHECK_EQ(make_writable(page), 0);
  page->words[1] = 1;
  CHECK_EQ(page->words[1], 1);
}
