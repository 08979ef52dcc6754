// One vCPU reports a crash while another one works: the crash report shows both.
#include <xen/sched.h>

#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

u64 rounds = 0;

[[gnu::noinline]] void works_on() {
  for (;;) {
    asm volatile("mov $0xbeef, %%rbx" ::: "rbx");
    __atomic_add_fetch(&rounds, 1, __ATOMIC_SEQ_CST);
  }
}

void second() {
  works_on();
  asm volatile("");  // a call, not a jump
}

}  // namespace

void test() {
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context_of(second)), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  while (__atomic_load_n(&rounds, __ATOMIC_SEQ_CST) < 1000) {
  }
  shut_down(SHUTDOWN_crash);
}
