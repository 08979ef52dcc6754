// A vCPU is started on trees of page tables that are larger than the work at a stretch. The
// hypercall continues until they are checked. A tree that is refused or released half checked is
// plain memory again. With VMASST_TYPE_m2p_strict the kernel of such a vCPU sees the machine-to-phys
// table, and its programs do not.
#include <xen/event_channel.h>
#include <xen/memory.h>
#include <xen/sched.h>

#include "vcpus/second_vcpu.hpp"

using namespace kit;

extern "C" {
u64 vector_in_user_mode, seen_by_kernel, machphys_address, finished;
void user_code(), on_page_fault(), on_invalid_opcode();
[[noreturn]] void kernel_code();
}

asm(R"(
user_code:
        mov machphys_address(%rip), %rax
        mov (%rax), %rax
        ud2
on_page_fault:
        movq $14, vector_in_user_mode(%rip)
        call kernel_code
on_invalid_opcode:
        movq $6, vector_in_user_mode(%rip)
        call kernel_code
)");

void kernel_code() {
  seen_by_kernel = *reinterpret_cast<u64*>(machphys_address + 8 * mfn_of(&finished));
  __atomic_store_n(&finished, 1, __ATOMIC_SEQ_CST);
  for (;;) vcpu_op(VCPUOP_down, 1);
}

namespace {

constexpr long eexist = -17, einval = -22;
constexpr u64 table_flags = present | writable | user | accessed;
constexpr u64 not_answered = 0x5a5a;
u64 next_pfn = 0;

struct Tree {
  Page* l4 = new_page();
  Page* l3 = new_page();
  Page* l2 = new_page();
};

/// Makes a root with the kernel's own mappings and 512 empty L1 tables, in frames that nothing maps. None of
/// them is validated yet.
Tree big_tree() {
  Tree tree;
  const auto* p2m = reinterpret_cast<const u64*>(info->mfn_list);
  if (next_pfn == 0) next_pfn = info->nr_pages;
  tree.l4->words[511] = reinterpret_cast<const Page*>(info->pt_base)->words[511];
  tree.l4->words[0] = mfn_of(tree.l3) * page_size | table_flags;
  tree.l3->words[0] = mfn_of(tree.l2) * page_size | table_flags;
  for (u64& entry : tree.l2->words) entry = p2m[--next_pfn] * page_size | table_flags;
  for (Page* page : {tree.l4, tree.l3, tree.l2}) CHECK_EQ(make_read_only(page), 0);
  return tree;
}

void is_plain_memory(const Tree& tree) {
  for (Page* page : {tree.l4, tree.l3, tree.l2}) CHECK_EQ(make_writable(page), 0);
  for (Page* page : {tree.l4, tree.l3, tree.l2}) CHECK_EQ(make_read_only(page), 0);
}

void start_on(vcpu_guest_context_t& context, const Tree& kernel, const Tree& user) {
  context.ctrlreg[3] = mfn_of(kernel.l4) * page_size;
  context.ctrlreg[1] = mfn_of(user.l4) * page_size;
}

evtchn_port_t port = 0;
u64 upcalls_before_answer = 0;
multicall_entry_t calls[2];
void (*meanwhile)() = nullptr;

void on_event(Frame& frame) {
  CHECK_EQ(frame.vector, event_vector);
  vcpu_info_t& self = shared()->vcpu_info[0];
  __atomic_store_n(&self.evtchn_upcall_pending, 0, __ATOMIC_SEQ_CST);
  __atomic_store_n(&self.evtchn_pending_sel, 0, __ATOMIC_SEQ_CST);
  __atomic_and_fetch(&shared()->evtchn_pending[port / 64], ~(1UL << port % 64), __ATOMIC_SEQ_CST);
  if (calls[1].result != not_answered || upcalls_before_answer++ != 0) return;
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
  shared()->vcpu_info[0].evtchn_upcall_pending = 0;
  shared()->vcpu_info[0].evtchn_pending_sel = 0;
  shared()->vcpu_info[0].evtchn_upcall_mask = 0;
}

/// VCPUOP_initialise with a timer that is due when it begins: the event arrives before the result.
long initialise(u64 vcpu, vcpu_guest_context_t& context) {
  calls[0] = multicall_entry_t{};
  calls[0].op = __HYPERVISOR_set_timer_op;
  calls[0].args[0] = 1;
  calls[1] = multicall_entry_t{};
  calls[1].op = __HYPERVISOR_vcpu_op;
  calls[1].args[0] = VCPUOP_initialise;
  calls[1].args[1] = vcpu;
  calls[1].args[2] = word(&context);
  calls[1].result = not_answered;
  upcalls_before_answer = 0;
  CHECK_EQ(hypercall(__HYPERVISOR_multicall, calls, 2), 0);
  CHECK(upcalls_before_answer > 0);
  return static_cast<long>(calls[1].result);
}

void handle(vcpu_guest_context_t& context, u8 vector, void (*handler)()) {
  context.trap_ctxt[vector] = {vector, 0, FLAT_RING3_CS64, word(handler)};
}

}  // namespace

void test() {
  xen_machphys_mapping m2p{};
  CHECK_EQ(hypercall(__HYPERVISOR_memory_op, XENMEM_machphys_mapping, &m2p), 0);
  machphys_address = m2p.v_start;
  CHECK_EQ(hypercall(__HYPERVISOR_vm_assist, VMASST_CMD_enable, VMASST_TYPE_m2p_strict), 0);
  receive_timer_events();
  const Tree kernel = big_tree(), user = big_tree();

  // The user root's last table is invalid: refused after all that work, and no reference is left.
  CHECK_EQ(make_writable(user.l2), 0);
  const u64 good = user.l2->words[511];
  user.l2->words[511] |= large;
  CHECK_EQ(make_read_only(user.l2), 0);
  vcpu_guest_context_t& context = context_of(kernel_code);
  start_on(context, kernel, user);
  CHECK_EQ(initialise(1, context), einval);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), einval);
  is_plain_memory(kernel);
  is_plain_memory(user);
  CHECK_EQ(make_writable(user.l2), 0);
  user.l2->words[511] = good;
  CHECK_EQ(make_read_only(user.l2), 0);

  // With one root loaded and the other half checked, the same vCPU is started on other roots.
  CHECK_EQ(extended(MMUEXT_PIN_L4_TABLE, mfn_of(kernel.l4)), 0);
  meanwhile = [] { CHECK_EQ(vcpu_op(VCPUOP_initialise, 2, &context_of(kernel_code)), 0); };
  CHECK_EQ(initialise(2, context), eexist);
  meanwhile = nullptr;
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(kernel.l4)), 0);
  is_plain_memory(kernel);
  // A request for a half-checked table continues its check.
  CHECK_EQ(extended(MMUEXT_PIN_L4_TABLE, mfn_of(user.l4)), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(user.l4)), 0);
  is_plain_memory(user);

  context_of(kernel_code);
  start_on(context, kernel, user);
  context.flags = 0;  // user mode
  context.user_regs.rip = word(user_code);
  handle(context, 14, on_page_fault);
  handle(context, 6, on_invalid_opcode);
  CHECK_EQ(initialise(1, context), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  const u64 limit = now_ns() + 60'000'000'000;
  while (__atomic_load_n(&finished, __ATOMIC_SEQ_CST) == 0 && now_ns() < limit)
    hypercall(__HYPERVISOR_sched_op, SCHEDOP_yield, nullptr);
  CHECK_EQ(finished, 1);
  CHECK_EQ(vector_in_user_mode, 14);
  CHECK_EQ(seen_by_kernel, (word(&finished) - 0xffffffff80000000) / page_size);
}
