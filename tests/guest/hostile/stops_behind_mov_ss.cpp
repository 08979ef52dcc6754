// A program runs instructions behind MOV SS, with a single step that this holds back in every second round.
// Each reads a page that was a table a moment before, so on a host with nested paging it leaves the VM in the
// middle of its interrupt shadow. Timer events stop it there, too. The guest goes on, gets one #DB for each
// step, and gets it in the program.
#include "hostile/events.hpp"

using namespace kit;

extern "C" u64 stack_selector;
u64 stack_selector = FLAT_RING3_SS64;

// RBX: the flags; RDI: the page.
asm(R"(
rounds:
        mov stack_selector(%rip), %eax
        push %rbx
        popf
        mov %eax, %ss
read_in_shadow:
        mov (%rdi), %rcx
behind_shadow:
        int3
        ud2
)");
extern "C" char rounds[], read_in_shadow[], behind_shadow[];

namespace {

constexpr u64 trap_flag = 1 << 8, plain_flags = 0x202;
constexpr u64 pages = 30;
Page* tables[pages];
mmuext_op pin_and_unpin[2 * pages];
Page ldt __attribute__((aligned(4096)));
constexpr u64 flat_data = 0x00cff3000000ffff;
constexpr u64 ldt_selector = 0 << 3 | 4 | 3;
u64 wanted = 0, done = 0;
u64 steps = 0, events_at_read = 0;

/// Each of the pages becomes a table and none again, which changes what the VM may do with its frame.
void retype() {
  static u64 success;
  CHECK_EQ(hypercall(__HYPERVISOR_mmuext_op, pin_and_unpin, 2 * pages, &success, DOMID_SELF), 0);
}

bool steps_in(u64 round) { return round % 2 != 0; }

void begin_round(Frame& frame) {
  if (done % pages == 0) retype();
  frame.rip = word(rounds);
  frame.rdi = word(tables[done % pages]);
  frame.rbx = plain_flags | (steps_in(done) ? trap_flag : 0);
  frame.rflags = plain_flags;
  frame.ss = FLAT_RING3_SS64;
  stack_selector = done % 4 >= 2 ? ldt_selector : u64{FLAT_RING3_SS64};
}

[[noreturn]] void fail(const Frame& frame) {
  say("vector ", static_cast<long>(frame.vector), " at ", hex(frame.rip), " error ", hex(frame.error));
  CHECK(false);
  finish();
}

void on_any(Frame& frame) {
  if ((frame.cs & 3) != 3) return frame.vector == event_vector ? take_timer_event(done) : fail(frame);
  switch (frame.vector) {
    case event_vector:
      if (frame.rip == word(read_in_shadow)) ++events_at_read;
      return take_timer_event(done);
    case 1:
      if (frame.rip != word(behind_shadow)) return;  // a processor that does not hold the step back
      ++steps;
      CHECK(steps_in(done));
      frame.rflags &= ~trap_flag;
      return;
    case 3: break;
    default: return fail(frame);
  }
  CHECK_EQ(frame.rip, word(behind_shadow) + 1);
  CHECK_EQ(frame.rcx, 0);
  CHECK_EQ(steps, (done + 1) / 2);
  if (++done == wanted) {
    say("interrupted ", static_cast<long>(timer_events), " times, ", static_cast<long>(events_at_read),
        " times at the read");
    finish();
  }
  begin_round(frame);
}

}  // namespace

void test() {
  install_traps();
  wanted = number_behind("rounds=", 20'000);
  on_trap = on_any;
  Page* const user_stack = new_page();
  Page* const kernel_stack = new_page();
  for (u64 i = 0; i < pages; ++i) {
    tables[i] = new_page();
    CHECK_EQ(make_read_only(tables[i]), 0);
    pin_and_unpin[i].cmd = MMUEXT_PIN_L1_TABLE;
    pin_and_unpin[pages + i].cmd = MMUEXT_UNPIN_TABLE;
    pin_and_unpin[i].arg1.mfn = pin_and_unpin[pages + i].arg1.mfn = mfn_of(tables[i]);
  }
  ldt.words[0] = flat_data;
  CHECK_EQ(make_read_only(&ldt), 0);
  mmuext_op set_ldt{};
  set_ldt.cmd = MMUEXT_SET_LDT;
  set_ldt.arg1.linear_addr = word(&ldt);
  set_ldt.arg2.nr_ents = 1;
  CHECK_EQ(hypercall(__HYPERVISOR_mmuext_op, &set_ldt, 1, nullptr, DOMID_SELF), 0);
  take_syscalls();
  load_user_root();
  start_timer_events();
  // The first round is only its end.
  enter_user(reinterpret_cast<void (*)()>(behind_shadow), user_stack, kernel_stack);
}
