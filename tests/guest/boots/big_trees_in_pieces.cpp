// Pinning and unpinning a tree of more than a thousand tables is interrupted for the guest's events: they
// arrive before the hypercall returns. Afterwards it goes on and has the same result as without events.
#include <xen/event_channel.h>
#include <xen/vcpu.h>

#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 table_flags = present | writable | user | accessed;
constexpr u64 l2_tables = 2;
constexpr u64 not_answered = 0x5a5a;
constexpr long einval = -22;

evtchn_port_t port = 0;
u64 upcalls = 0;
u64 upcalls_before_answer = 0;
multicall_entry_t calls[2];
/// What the handler of the event does while the hypercall waits.
void (*meanwhile)() = nullptr;

struct BigTree {
  Page* l4;
  Page* l3;
  Page* l2[l2_tables];
} tree;

vcpu_info_t& self() { return shared()->vcpu_info[0]; }

void on_event(Frame& frame) {
  CHECK_EQ(frame.vector, event_vector);
  ++upcalls;
  __atomic_store_n(&self().evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST);
  __atomic_store_n(&self().evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
  __atomic_and_fetch(&shared()->evtchn_pending[port / 64], ~(1UL << port % 64), __ATOMIC_SEQ_CST);
  if (calls[1].result != not_answered) return;
  ++upcalls_before_answer;
  const auto* next = reinterpret_cast<const u8*>(frame.rip);
  CHECK(next[0] == 0x0f && next[1] == 0x05);  // the SYSCALL is made again
  if (meanwhile != nullptr) meanwhile();
}

void receive_timer_events() {
  install_traps();
  on_trap = on_event;
  CHECK_EQ(hypercall(__HYPERVISOR_set_callbacks, kit_event_entry, 0, 0), 0);
  evtchn_bind_virq bind{VIRQ_TIMER, 0, 0};
  CHECK_EQ(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, &bind), 0);
  port = bind.port;
  for (u64& word_of_mask : shared()->evtchn_mask) word_of_mask = ~0UL;
  shared()->evtchn_mask[port / 64] &= ~(1UL << port % 64);
  self().evtchn_upcall_pending = 0;
  self().evtchn_pending_sel = 0;
  self().evtchn_upcall_mask = 0;
}

/// Empty L1 tables, in frames that nothing maps, from the guest's last one down. Upper
/// tables refer to one each.
void build_tree() {
  tree.l4 = new_page();
  tree.l3 = new_page();
  tree.l4->words[0] = mfn_of(tree.l3) * page_size | table_flags;
  const auto* p2m = reinterpret_cast<const u64*>(info->mfn_list);
  u64 pfn = info->nr_pages;
  for (u64 i = 0; i < l2_tables; ++i) {
    tree.l2[i] = new_page();
    tree.l3->words[i] = mfn_of(tree.l2[i]) * page_size | table_flags;
    for (u64& entry : tree.l2[i]->words) entry = p2m[--pfn] * page_size | table_flags;
    CHECK_EQ(make_read_only(tree.l2[i]), 0);
  }
  CHECK_EQ(make_read_only(tree.l3), 0);
  CHECK_EQ(make_read_only(tree.l4), 0);
}

/// Makes one mmuext_op with a timer that is due when it begins: the event has to come before the result.
long extended_with_timer(u32 command, const void* page) {
  static mmuext_op op;
  op = mmuext_op{};
  op.cmd = command;
  op.arg1.mfn = mfn_of(page);
  calls[0] = multicall_entry_t{};
  calls[0].op = __HYPERVISOR_set_timer_op;
  calls[0].args[0] = 1;
  calls[1] = multicall_entry_t{};
  calls[1].op = __HYPERVISOR_mmuext_op;
  calls[1].args[0] = word(&op);
  calls[1].args[1] = 1;
  calls[1].args[3] = DOMID_SELF;
  calls[1].result = not_answered;
  upcalls_before_answer = 0;
  CHECK_EQ(hypercall(__HYPERVISOR_multicall, calls, 2), 0);
  CHECK(upcalls_before_answer > 0);
  return static_cast<long>(calls[1].result);
}

/// Pins and unpins the whole tree, in one list. `done`: the number of completed requests.
long list(u32 count, u32& done) {
  static mmuext_op ops[4];
  for (u32 i = 0; i < count; ++i) {
    ops[i] = mmuext_op{};
    ops[i].cmd = i % 2 == 0 ? MMUEXT_PIN_L4_TABLE : MMUEXT_UNPIN_TABLE;
    ops[i].arg1.mfn = mfn_of(tree.l4);
  }
  return hypercall(__HYPERVISOR_mmuext_op, ops, count, &done, DOMID_SELF);
}

}  // namespace

void test() {
  receive_timer_events();
  build_tree();

  meanwhile = [] { CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(tree.l4)), einval); };
  CHECK_EQ(extended_with_timer(MMUEXT_PIN_L4_TABLE, tree.l4), 0);
  CHECK_EQ(set_entry(mfn_of(tree.l4) * page_size + 8, 0), 0);

  // The handler's request waits until the tables of the removed pin are plain memory.
  meanwhile = [] { CHECK_EQ(make_writable(tree.l2[0]), 0); };
  CHECK_EQ(extended_with_timer(MMUEXT_UNPIN_TABLE, tree.l4), 0);
  CHECK_EQ(make_read_only(tree.l2[0]), 0);

  // The handler pins and unpins a part of the tree that is being pinned.
  meanwhile = [] {
    CHECK_EQ(extended(MMUEXT_PIN_L3_TABLE, mfn_of(tree.l3)), 0);
    CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(tree.l3)), 0);
  };
  CHECK_EQ(extended_with_timer(MMUEXT_PIN_L4_TABLE, tree.l4), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(tree.l4)), 0);
  meanwhile = nullptr;

  u32 done = 0;
  CHECK_EQ(list(4, done), 0);
  CHECK_EQ(done, 4);

  // The last entry is bad: refused, and all of the tree is plain memory again.
  CHECK_EQ(make_writable(tree.l2[l2_tables - 1]), 0);
  u64& last = tree.l2[l2_tables - 1]->words[511];
  const u64 good = last;
  last |= large;
  CHECK_EQ(make_read_only(tree.l2[l2_tables - 1]), 0);
  CHECK_EQ(extended_with_timer(MMUEXT_PIN_L4_TABLE, tree.l4), einval);
  CHECK_EQ(list(4, done), einval);
  CHECK_EQ(done, 0);
  for (Page* l2 : tree.l2) CHECK_EQ(make_writable(l2), 0);
  CHECK_EQ(make_writable(tree.l4), 0);
  last = good;
  for (Page* l2 : tree.l2) CHECK_EQ(make_read_only(l2), 0);
  CHECK_EQ(make_read_only(tree.l4), 0);

  // The guest ends while the tree is half pinned.
  meanwhile = [] {
    CHECK_EQ(upcalls, 5);
    finish();
  };
  extended_with_timer(MMUEXT_PIN_L4_TABLE, tree.l4);
  CHECK(false);
}
