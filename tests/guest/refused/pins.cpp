// A frame can be pinned only while no entry maps it writable, only once, and only at the
// level of its contents.
#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

void test() {
  Page* page = new_page();
  const u64 mfn = mfn_of(page);
  for (u32 command : {MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE})
    CHECK_EQ(extended(command, mfn), einval);  // mapped writable
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn), einval);

  CHECK_EQ(make_read_only(page), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn), einval);  // twice
  CHECK_EQ(extended(MMUEXT_PIN_L2_TABLE, mfn), einval);  // as another
  CHECK_EQ(make_writable(page), ebusy);
  CHECK_EQ(extended(MMUEXT_NEW_USER_BASEPTR, mfn), einval);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn), einval);
  CHECK_EQ(make_writable(page), 0);

  // Its contents must be a valid table. This one maps the guest's own L4 writable.
  page->words[3] = mfn_of(reinterpret_cast<void*>(info->pt_base)) * page_size | data;
  CHECK_EQ(make_read_only(page), 0);
  CHECK(extended(MMUEXT_PIN_L1_TABLE, mfn) < 0);
  CHECK_EQ(make_writable(page), 0);
  page->words[3] = 0;

  // A table above L1 with an entry that refers to a page of data, which is mapped writable.
  Page* child = new_page();
  page->words[5] = mfn_of(child) * page_size | present | user | accessed;
  CHECK_EQ(make_read_only(page), 0);
  CHECK(extended(MMUEXT_PIN_L2_TABLE, mfn) < 0);
  CHECK_EQ(make_read_only(child), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L2_TABLE, mfn), 0);
  CHECK_EQ(make_writable(child), ebusy);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn), 0);
  CHECK_EQ(make_writable(child), 0);
  CHECK_EQ(make_writable(page), 0);
}
