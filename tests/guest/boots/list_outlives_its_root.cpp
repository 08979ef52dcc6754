// A list of requests loads another root and releases the old one. The rest of the list is then read through
// the new root, not through old tables, which may be plain memory by then.
#include "kit/kit.hpp"

using namespace kit;

void test() {
  auto* old_root = reinterpret_cast<Page*>(info->pt_base);
  Page* new_root = new_page();
  for (u64 slot = 0; slot < 512; ++slot)
    if (slot < 256 || slot >= 272) new_root->words[slot] = old_root->words[slot];
  CHECK_EQ(make_read_only(new_root), 0);

  constexpr u32 count = 100;
  static mmuext_op ops[count];
  for (mmuext_op& op : ops) op.cmd = MMUEXT_TLB_FLUSH_LOCAL;
  ops[0].cmd = MMUEXT_NEW_BASEPTR;
  ops[0].arg1.mfn = mfn_of(new_root);
  ops[1].cmd = MMUEXT_UNPIN_TABLE;
  ops[1].arg1.mfn = mfn_of(old_root);
  ops[2].cmd = MMUEXT_CLEAR_PAGE;
  ops[2].arg1.mfn = mfn_of(old_root);
  u32 done = 0;
  CHECK_EQ(hypercall(__HYPERVISOR_mmuext_op, ops, count, &done, DOMID_SELF), 0);
  CHECK_EQ(done, count);
  CHECK_EQ(old_root->words[511], 0);
}
