// A vCPU releases its root and sleeps, in one hypercall: it left the guest on that root's mirror. When it is
// woken the mirror belongs to another table, and the vCPU runs on all the same.
#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

// From the 1,024th released mirror on, mirrors are used again, the newest one first. Which one of a round
// that is differs from round to round.
constexpr u64 rounds = 2500;
Page* others_root = nullptr;
u64 came_back = 0, failed = 0;

mmuext_op load_root(u64 mfn) {
  mmuext_op op{};
  op.cmd = MMUEXT_NEW_BASEPTR;
  op.arg1.mfn = mfn;
  return op;
}

/// Loads a root without other references; then, in one hypercall, loads the initial one and goes down.
void second() {
  static mmuext_op back;
  static multicall_entry_t calls[2];
  back = load_root(mfn_of(reinterpret_cast<void*>(info->pt_base)));
  for (;;) {
    if (extended(MMUEXT_NEW_BASEPTR, mfn_of(others_root)) != 0)
      __atomic_add_fetch(&failed, 1, __ATOMIC_SEQ_CST);
    calls[0] = {};
    calls[0].op = __HYPERVISOR_mmuext_op;
    calls[0].args[0] = word(&back);
    calls[0].args[1] = 1;
    calls[0].args[3] = DOMID_SELF;
    calls[1] = {};
    calls[1].op = __HYPERVISOR_vcpu_op;
    calls[1].args[0] = VCPUOP_down;
    calls[1].args[1] = 1;
    if (hypercall(__HYPERVISOR_multicall, calls, 2) != 0 || calls[0].result != 0 || calls[1].result != 0)
      __atomic_add_fetch(&failed, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&came_back, 1, __ATOMIC_SEQ_CST);
  }
}

bool other_went_down() {
  const u64 limit = now_ns() + 20'000'000'000;
  while (vcpu_op(VCPUOP_is_up, 1) != 0)
    if (now_ns() > limit) return false;
  return true;
}

}  // namespace

void test() {
  const auto* root = reinterpret_cast<const Page*>(info->pt_base);
  others_root = new_page();
  for (u64 slot = 0; slot < 512; ++slot)
    if (slot < 256 || slot >= 272) others_root->words[slot] = root->words[slot];
  CHECK_EQ(make_read_only(others_root), 0);
  Page* const table = new_page();
  CHECK_EQ(make_read_only(table), 0);
  const u64 mfn = mfn_of(table);

  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context_of(second)), 0);
  u64 round = 0, refused = 0;
  for (; round < rounds; ++round) {
    if (vcpu_op(VCPUOP_up, 1) != 0 || !other_went_down()) break;
    // The new table gets the newest mirror that may be used again.
    refused += extended(MMUEXT_PIN_L1_TABLE, mfn) != 0;
    if (round % 7 == 0) {
      refused += extended(MMUEXT_UNPIN_TABLE, mfn) != 0;
      refused += extended(MMUEXT_PIN_L1_TABLE, mfn) != 0;
    }
    if (vcpu_op(VCPUOP_up, 1) != 0 || !other_went_down()) break;
    refused += extended(MMUEXT_UNPIN_TABLE, mfn) != 0;
  }
  CHECK_EQ(round, rounds);
  CHECK_EQ(refused, 0);
  CHECK_EQ(failed, 0);
  CHECK_EQ(__atomic_load_n(&came_back, __ATOMIC_SEQ_CST), 2 * rounds - 1);
}
