// The frames of an LDT are validated when the processor first needs them, and are descriptor pages until
// another root or LDT is loaded. XSA-298: the limit is enforced, too.
#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 flat_data = 0x00cff3000000ffff;
constexpr long ebusy = -16;
constexpr u32 entries = 600;  // two pages, the second with 88 entries

u16 selector(u64 entry) { return static_cast<u16>(entry << 3 | 7); }

void load(u64 entry) { FAULTING("mov %0, %%es", "r"(static_cast<u32>(selector(entry)))); }

long set_ldt(const void* base, u32 count) {
  mmuext_op op{};
  op.cmd = MMUEXT_SET_LDT;
  op.arg1.linear_addr = word(base);
  op.arg2.nr_ents = count;
  return hypercall(__HYPERVISOR_mmuext_op, &op, 1, nullptr, DOMID_SELF);
}

}  // namespace

void test() {
  install_traps();
  // Two pages side by side, of descriptors.
  static Page ldt[2];
  for (Page& page : ldt)
    for (u64& descriptor : page.words) descriptor = flat_data;
  CHECK_EQ(set_ldt(ldt, entries), 0);

  load(3);  // the guest can still write the page, so it can't become a descriptor page
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(caught.address, word(&ldt[0].words[3]));

  CHECK_EQ(make_read_only(&ldt[0]), 0);
  CHECK_EQ(make_read_only(&ldt[1]), 0);
  load(3);
  CHECK_EQ(caught.vector, Caught::none);
  CHECK_EQ(make_writable(&ldt[0]), ebusy);  // held
  CHECK_EQ(make_writable(&ldt[1]), 0);      // not used yet
  load(520);
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(caught.address, word(&ldt[1].words[8]));
  CHECK_EQ(make_read_only(&ldt[1]), 0);
  load(520);
  CHECK_EQ(caught.vector, Caught::none);
  load(entries);  // past the end
  CHECK_EQ(caught.vector, 13);
  load(1024);  // a page past the end, which is not read
  CHECK(caught.vector == 13 || caught.vector == 14);

  // Another root releases them. They become descriptor pages again when they are needed.
  CHECK_EQ(extended(MMUEXT_NEW_BASEPTR, mfn_of(reinterpret_cast<void*>(info->pt_base))), 0);
  CHECK_EQ(make_writable(&ldt[0]), 0);
  load(3);
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(make_read_only(&ldt[0]), 0);
  load(3);
  CHECK_EQ(caught.vector, Caught::none);

  CHECK_EQ(set_ldt(nullptr, 0), 0);
  CHECK_EQ(make_writable(&ldt[0]), 0);
  load(3);
  CHECK(caught.vector == 13 || caught.vector == 14);
  FAULTING("mov %0, %%es", "r"(0));
}
