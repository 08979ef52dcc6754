// fpu_taskswitch: with CR0.TS set the first use of the FPU raises #NM, which clears TS. An exit to the
// monitor does not change that. Where code at CPL3 runs without VT-x or SVM there is no such trap.
#include "kit/kit.hpp"

using namespace kit;

namespace {

constexpr u64 device_not_available = 7;

u64 use_the_fpu() {
  FAULTING("fwait", "i"(0));
  return caught.vector;
}
void set_task_switched(bool on) { CHECK_EQ(hypercall(__HYPERVISOR_fpu_taskswitch, on ? 1 : 0), 0); }
void leave() { CHECK_EQ(extended(MMUEXT_TLB_FLUSH_ALL, 0), 0); }

}  // namespace

void test() {
  install_traps();
  for (void (*meanwhile)() : {+[] {}, leave}) {
    set_task_switched(true);
    meanwhile();
    CHECK_EQ(use_the_fpu(), device_not_available);
    meanwhile();
    CHECK_EQ(use_the_fpu(), Caught::none);
    set_task_switched(true);
    meanwhile();
    set_task_switched(false);
    meanwhile();
    CHECK_EQ(use_the_fpu(), Caught::none);
  }
}
