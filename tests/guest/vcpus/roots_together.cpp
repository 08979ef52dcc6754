// One vCPU loads one root after the other, without the monitor where it can. The other one takes a root away
// whenever it may: as long as a vCPU runs on a table, nobody gets to write it.
#include <xen/sched.h>

#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

constexpr u64 rounds = 4000;
Page* roots[2];
u64 loads = 0, loaded = 0, other_answers = 0;
bool over = false;

/// A root that is no table at the moment is refused, and the vCPU stays on the one that it has.
void second() {
  const u64 first = mfn_of(reinterpret_cast<void*>(info->pt_base));
  while (!__atomic_load_n(&over, __ATOMIC_SEQ_CST)) {
    for (Page* const root : roots) {
      const long answer = extended(MMUEXT_NEW_BASEPTR, mfn_of(root));
      __atomic_add_fetch(answer == 0 ? &loaded : &other_answers, 1, __ATOMIC_SEQ_CST);
    }
    extended(MMUEXT_NEW_BASEPTR, first);
    __atomic_add_fetch(&loads, 1, __ATOMIC_SEQ_CST);
  }
  for (;;) vcpu_op(VCPUOP_down, 1);
}

}  // namespace

void test() {
  for (Page*& root : roots) {
    root = new_page();
    root->words[511] = reinterpret_cast<const Page*>(info->pt_base)->words[511];
    CHECK_EQ(make_read_only(root), 0);
    CHECK_EQ(extended(MMUEXT_PIN_L4_TABLE, mfn_of(root)), 0);
  }
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context_of(second)), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  CHECK(goes_on(loads, 10));
  u64 taken = 0, kept = 0;
  for (u64 i = 0; i < rounds; ++i) {
    Page* const root = roots[i % 2];
    CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(root)), 0);
    if (make_writable(root) == 0) {
      // What would be walked if a vCPU were on it.
      root->words[0] = root->words[300] = ~0UL;
      root->words[0] = root->words[300] = 0;
      CHECK_EQ(make_read_only(root), 0);
      ++taken;
    } else {
      ++kept;
    }
    CHECK_EQ(extended(MMUEXT_PIN_L4_TABLE, mfn_of(root)), 0);
    if (i % 64 == 0) CHECK(goes_on(loads, 1));
  }
  __atomic_store_n(&over, true, __ATOMIC_SEQ_CST);
  CHECK(taken > 0);
  CHECK(__atomic_load_n(&loaded, __ATOMIC_SEQ_CST) > 0);
  while (vcpu_op(VCPUOP_is_up, 1) != 0) hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
  for (Page* const root : roots) {
    CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(root)), 0);
    CHECK_EQ(make_writable(root), 0);
  }
}
