// NMIs: each way to a handler and none, masked until the next iret, to a vCPU in every state.
#include <xen/callback.h>
#include <xen/nmi.h>
#include <xen/sched.h>
#include <xen/version.h>

#include "kit/user_mode.hpp"
#include "vcpus/second_vcpu.hpp"

using namespace kit;

extern "C" char kit_stack_top[];

namespace {

constexpr long enoent = -2, efault = -14, einval = -22, enosys = -38;
constexpr u64 nmi_vector = 2, ud_vector = 6, gp_vector = 13;
constexpr u64 second_ns = 1'000'000'000;

u64 nmi_entry() { return word(kit_trap_entries) + nmi_vector * 32; }

long send_nmi(u64 vcpu) { return vcpu_op(VCPUOP_send_nmi, vcpu); }
u64 load(const u64& value) { return __atomic_load_n(&value, __ATOMIC_SEQ_CST); }
void store(u64& to, u64 value) { __atomic_store_n(&to, value, __ATOMIC_SEQ_CST); }

u64 on_which(const Frame& frame) {
  const u64 at = word(&frame);
  return at < word(kit_stack_top) && at >= word(kit_stack_top) - 32768 ? 0 : 1;
}
bool events_masked(u64 vcpu) { return shared()->vcpu_info[vcpu].evtchn_upcall_mask != 0; }
void mask_events(u64 vcpu, bool on) { shared()->vcpu_info[vcpu].evtchn_upcall_mask = on ? 1 : 0; }

// -- what the handler saw, by vCPU
u64 nmis[2], depth[2], deepest[2];
u64 entered_with_events[2];  ///< How often events were not masked in the handler.
u64 resend = 0;              ///< So many NMIs does vCPU 0's handler send to vCPU 0 itself.
bool fault_in_handler = false;
bool user_may_end = false;
Frame last;

void on_nmi(Frame& frame) {
  const u64 vcpu = on_which(frame);
  store(nmis[vcpu], nmis[vcpu] + 1);
  if (++depth[vcpu] > deepest[vcpu]) deepest[vcpu] = depth[vcpu];
  if (!events_masked(vcpu)) ++entered_with_events[vcpu];
  if (vcpu == 0) last = frame;
  for (; vcpu == 0 && resend != 0; --resend) CHECK_EQ(send_nmi(0), 0);
  if (vcpu == 0 && fault_in_handler) {
    fault_in_handler = false;
    CHECK_EQ(nmis[0], 1);
    FAULTING("ud2", "r"(0));
    CHECK_EQ(caught.vector, ud_vector);
    CHECK_EQ(nmis[0], 2);  // the iret of the #UD's handler let the second one in
  }
  user_may_end = true;
  --depth[vcpu];
}

void on_any_trap(Frame& frame) {
  if (frame.vector == nmi_vector) return on_nmi(frame);
  if (frame.vector == syscall_vector) {
    CHECK_EQ(nmis[0], 1);
    CHECK_EQ(last.cs & 0xffff, FLAT_RING3_CS64);
    finish();
  }
  say("FAILED: trap ", static_cast<long>(frame.vector), " at ", hex(frame.rip));
  finish();
}

void forget() {
  for (u64 v = 0; v < 2; ++v) {
    store(nmis[v], 0);
    deepest[v] = entered_with_events[v] = 0;
  }
}

long register_callback(u64 address, u16 type = CALLBACKTYPE_nmi) {
  callback_register request{};
  request.type = type;
  request.address = address;
  return hypercall(__HYPERVISOR_callback_op, CALLBACKOP_register, &request);
}
long unregister_callback(u16 type) {
  callback_unregister request{};
  request.type = type;
  return hypercall(__HYPERVISOR_callback_op, CALLBACKOP_unregister, &request);
}

void refuse_arguments() {
  for (u64 absent : {2UL, 32UL, 128UL, ~0UL}) CHECK_EQ(send_nmi(absent), enoent);
  CHECK_EQ(vcpu_op(VCPUOP_send_nmi, 0, &last), einval);
  CHECK_EQ(register_callback(1UL << 63), einval);
  CHECK_EQ(hypercall(__HYPERVISOR_callback_op, CALLBACKOP_register, unmapped_address()), efault);
  CHECK_EQ(hypercall(__HYPERVISOR_callback_op, CALLBACKOP_unregister, unmapped_address()), efault);
  CHECK_EQ(unregister_callback(CALLBACKTYPE_event), einval);
  CHECK_EQ(unregister_callback(99), enosys);
  CHECK_EQ(hypercall(__HYPERVISOR_nmi_op, XENNMI_register_callback, unmapped_address()), efault);
  CHECK_EQ(hypercall(__HYPERVISOR_nmi_op, 2, 0), enosys);
  CHECK_EQ(hypercall(__HYPERVISOR_nmi_op, XENNMI_unregister_callback, 0), 0);
}

/// What is sent while there is no handler is lost.
void without_handler() {
  CHECK_EQ(unregister_callback(CALLBACKTYPE_nmi), 0);
  CHECK_EQ(send_nmi(0), 0);
  CHECK_EQ(register_callback(nmi_entry()), 0);
  CHECK_EQ(nmis[0], 0);
}

/// An NMI to oneself comes before the next instruction, with events masked.
void to_oneself() {
  forget();
  mask_events(0, false);
  CHECK_EQ(send_nmi(0), 0);
  CHECK_EQ(nmis[0], 1);
  CHECK_EQ(entered_with_events[0], 0);
  CHECK_EQ(last.cs >> 32 & 0xff, 0);  // saved_upcall_mask
  CHECK_EQ(last.rax, 0);              // the hypercall was done
  CHECK(!events_masked(0));
  mask_events(0, true);
  CHECK_EQ(send_nmi(0), 0);  // masked events don't mask NMIs
  CHECK_EQ(nmis[0], 2);
  CHECK_EQ(last.cs >> 32 & 0xff, 1);
  CHECK(events_masked(0));
}

/// nmi_op and the trap table set the same handler; the table says whether it masks events.
void other_ways_to_register() {
  forget();
  CHECK_EQ(hypercall(__HYPERVISOR_nmi_op, XENNMI_unregister_callback, 0), 0);
  CHECK_EQ(send_nmi(0), 0);
  CHECK_EQ(nmis[0], 0);
  xennmi_callback callback{nmi_entry(), 0};
  CHECK_EQ(hypercall(__HYPERVISOR_nmi_op, XENNMI_register_callback, &callback), 0);
  mask_events(0, false);
  CHECK_EQ(send_nmi(0), 0);
  CHECK_EQ(nmis[0], 1);
  CHECK_EQ(entered_with_events[0], 0);
  trap_info_t table[2] = {{nmi_vector, 0, FLAT_KERNEL_CS, nmi_entry()}, {}};
  CHECK_EQ(hypercall(__HYPERVISOR_set_trap_table, table), 0);
  CHECK_EQ(send_nmi(0), 0);
  CHECK_EQ(nmis[0], 2);
  CHECK_EQ(entered_with_events[0], 1);
  mask_events(0, true);
  CHECK_EQ(register_callback(nmi_entry()), 0);
}

void masked_until_iret() {
  forget();
  resend = 3;
  CHECK_EQ(send_nmi(0), 0);
  CHECK_EQ(nmis[0], 2);  // three at once are one
  CHECK_EQ(deepest[0], 1);
  forget();
  resend = 1;
  fault_in_handler = true;
  CHECK_EQ(send_nmi(0), 0);
  CHECK_EQ(nmis[0], 2);
  CHECK_EQ(deepest[0], 2);
}

/// An INT is no NMI: the handler is not the programs' or the kernel's to call.
void by_an_instruction() {
  forget();
  FAULTING("int $2", "r"(0));
  CHECK_EQ(caught.vector, gp_vector);
  CHECK_EQ(caught.error, nmi_vector << 3 | 2);
  CHECK_EQ(nmis[0], 0);
}

// -- the second vCPU
u64 user_runs = 0;
enum Task : u64 { nothing, spin, block, poll, go_down, call, nudge };
u64 task = spin, at_task = 0, started = 0, passed = 0, calls = 0, wrong_answers = 0;

void do_task(u64 round) {
  const u64 before = load(nmis[1]);
  store(started, round);
  switch (load(task)) {
    case spin:
      while (load(nmis[1]) == before) {
      }
      break;
    case nothing: break;
    case block: hypercall(__HYPERVISOR_sched_op, SCHEDOP_block, 0); break;
    case poll: {
      sched_poll request{};
      hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, &request);
      break;
    }
    case go_down: vcpu_op(VCPUOP_down, 1); break;
    case call:
      // Hypercalls that the gate finishes and such that leave; none is lost, and none is done twice.
      for (; load(task) == call; store(calls, calls + 1)) {
        if (hypercall(__HYPERVISOR_xen_version, XENVER_version, 0) <= 0) ++wrong_answers;
        if (hypercall(__HYPERVISOR_xen_version, 77, 0) != enosys) ++wrong_answers;
        if (vcpu_op(VCPUOP_is_up, 1) != 1) ++wrong_answers;
        if (hypercall(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, 0) != 0) ++wrong_answers;
      }
      break;
    case nudge:
      while (load(user_runs) == 0) {
      }
      send_nmi(0);
      break;
  }
}

void second() {
  for (u64 round = 1;; ++round) {
    while (load(at_task) < round) {
    }
    do_task(round);
    store(passed, round);
  }
}

template <class Condition>
bool comes_true(Condition condition) {
  const u64 limit = now_ns() + 20 * second_ns;
  while (!condition())
    if (now_ns() > limit) return false;
  return true;
}

void give(Task next) {
  store(task, next);
  store(at_task, at_task + 1);
  CHECK(comes_true([] { return load(started) == at_task; }));
}

bool is_in(u64 state) {
  return comes_true([state] {
    vcpu_runstate_info_t now{};
    return vcpu_op(VCPUOP_get_runstate_info, 1, &now) == 0 && now.state == static_cast<int>(state);
  });
}

/// An NMI that comes before the vCPU's first instruction waits for it.
void before_the_first_instruction() {
  forget();
  CHECK_EQ(send_nmi(1), 0);
  vcpu_guest_context_t& context = context_of(second);
  context.trap_ctxt[nmi_vector] = {nmi_vector, 4, FLAT_KERNEL_CS, nmi_entry()};
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context), 0);
  CHECK_EQ(load(nmis[1]), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  CHECK(comes_true([] { return load(nmis[1]) == 1; }));
}

/// A vCPU that does `what` gets an NMI at once, and goes on behind it.
void reaches(Task what, u64 state) {
  forget();
  give(what);
  CHECK(is_in(state));
  CHECK_EQ(load(passed), at_task - 1);
  CHECK_EQ(send_nmi(1), 0);
  CHECK(comes_true([] { return load(passed) == at_task; }));
  CHECK_EQ(load(nmis[1]), 1);
}

void while_down() {
  forget();
  give(go_down);
  CHECK(is_in(RUNSTATE_offline));
  CHECK_EQ(send_nmi(1), 0);
  CHECK_EQ(vcpu_op(VCPUOP_is_up, 1), 0);
  CHECK_EQ(load(nmis[1]), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  CHECK(comes_true([] { return load(passed) == at_task; }));
  CHECK_EQ(load(nmis[1]), 1);
}

void during_hypercalls() {
  forget();
  give(call);
  for (u64 round = 1; round <= 300; ++round) {
    CHECK(comes_true([round] { return load(calls) >= round; }));
    CHECK_EQ(send_nmi(1), 0);
    CHECK(comes_true([round] { return load(nmis[1]) >= round; }));
  }
  store(task, nothing);
  CHECK(comes_true([] { return load(passed) == at_task; }));
  CHECK_EQ(load(wrong_answers), 0);
  CHECK_EQ(deepest[1], 1);
  CHECK_EQ(load(nmis[1]), 300);
}

// -- user mode
/// In user mode: waits for an NMI to the vCPU, whose handler lets it end.
void user_code() {
  asm volatile(
      "movq $1, %0\n"
      "1: cmpb $0, %1\n je 1b\n syscall\n ud2"
      : "=m"(user_runs)
      : "m"(user_may_end)
      : "memory");
}

/// Ends the test: in on_any_trap.
[[noreturn]] void in_user_mode() {
  forget();
  user_may_end = false;
  load_user_root();
  take_syscalls();
  Page* user_stack = new_page();
  auto* kernel_stack =
      reinterpret_cast<Page*>(word(kit_stack_top) - 4 * page_size);  // of vCPU 0, by on_which()
  give(nudge);
  enter_user(user_code, user_stack, kernel_stack);
}

}  // namespace

void test() {
  install_traps();
  on_trap = on_any_trap;
  mask_events(0, true);
  mask_events(1, true);
  refuse_arguments();
  without_handler();
  to_oneself();
  other_ways_to_register();
  install_traps();
  CHECK_EQ(register_callback(nmi_entry()), 0);
  masked_until_iret();
  by_an_instruction();
  before_the_first_instruction();
  reaches(spin, RUNSTATE_running);
  reaches(block, RUNSTATE_blocked);
  reaches(poll, RUNSTATE_blocked);
  while_down();
  during_hypercalls();
  in_user_mode();
}
