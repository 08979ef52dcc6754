// One vCPU releases the root that it runs on and yields, in one hypercall: it left the guest on that root's
// mirror. A second one releases tables until mirrors are used again; before that it has to wait for a third
// one, which is always in the guest. Meanwhile the first one enters the guest again. It must not do so on the
// old mirror, which may become another table's at any moment. `pairs=N` on the command line: how many tables
// are released. After 1,024 of them mirrors are used again once.
#include "events/ports.hpp"
#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

u64 pairs = 16384;
Page* others_root = nullptr;
u64 rounds = 0, failed = 0, turns = 0;

mmuext_op operation(u32 command, u64 mfn) {
  mmuext_op op{};
  op.cmd = command;
  op.arg1.mfn = mfn;
  return op;
}

void count(u64& counter) { __atomic_add_fetch(&counter, 1, __ATOMIC_SEQ_CST); }

/// Loads a root without other references; then, in one hypercall, loads the initial one and yields.
void changes_roots() {
  static mmuext_op back;
  static multicall_entry_t calls[2];
  back = operation(MMUEXT_NEW_BASEPTR, mfn_of(reinterpret_cast<void*>(info->pt_base)));
  for (;;) {
    if (extended(MMUEXT_NEW_BASEPTR, mfn_of(others_root)) != 0) count(failed);
    calls[0] = {};
    calls[0].op = __HYPERVISOR_mmuext_op;
    calls[0].args[0] = word(&back);
    calls[0].args[1] = 1;
    calls[0].args[3] = DOMID_SELF;
    calls[1] = {};
    calls[1].op = __HYPERVISOR_sched_op;
    calls[1].args[0] = SCHEDOP_yield;
    if (hypercall(__HYPERVISOR_multicall, calls, 2) != 0 || calls[0].result != 0 || calls[1].result != 0)
      count(failed);
    count(rounds);
  }
}

void stays_in_the_guest() {
  for (;;) count(turns);
}

bool moves(u64& counter) {
  const u64 limit = now_ns() + 20 * second_ns;
  const u64 before = __atomic_load_n(&counter, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&counter, __ATOMIC_SEQ_CST) == before)
    if (now_ns() > limit) return false;
  return true;
}

void start(u32 vcpu, void (*entry)(), Page* stack) {
  vcpu_guest_context_t& context = context_of(entry);
  context.user_regs.rsp = word(stack + 1) - 8;
  CHECK_EQ(vcpu_op(VCPUOP_initialise, vcpu, &context), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, vcpu), 0);
}

}  // namespace

void test() {
  pairs = number_behind("pairs=", pairs);
  const auto* root = reinterpret_cast<const Page*>(info->pt_base);
  others_root = new_page();
  for (u64 slot = 0; slot < 512; ++slot)
    if (slot < 256 || slot >= 272) others_root->words[slot] = root->words[slot];
  CHECK_EQ(make_read_only(others_root), 0);
  Page* const table = new_page();
  CHECK_EQ(make_read_only(table), 0);
  start(1, changes_roots, new_page());
  start(2, stays_in_the_guest, new_page());

  static mmuext_op list[64];
  for (u64 i = 0; i < 64; ++i)
    list[i] = operation(i % 2 == 0 ? MMUEXT_PIN_L1_TABLE : MMUEXT_UNPIN_TABLE, mfn_of(table));
  u64 refused = 0;
  for (u64 done = 0; done < pairs; done += 32)
    refused += hypercall(__HYPERVISOR_mmuext_op, list, 64, nullptr, DOMID_SELF) != 0;
  CHECK_EQ(refused, 0);
  CHECK_EQ(failed, 0);
  CHECK(moves(rounds));
  CHECK(moves(turns));
}
