// vCPU 1 prints numbered lines, as many as `lines=N` says, while vCPU 0 changes page-table entries;
// then the guest powers off.
#include "events/ports.hpp"
#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

u64 lines = 0;
bool printed = false;

void second() {
  for (u64 i = 1; i <= lines; ++i)
    say("line ", static_cast<long>(i),
        " of what the guest has to say, and a little more so that it fills a pipe");
  __atomic_store_n(&printed, true, __ATOMIC_SEQ_CST);
  for (;;) vcpu_op(VCPUOP_down, 1);
}

}  // namespace

void test() {
  install_traps();
  lines = number_behind("lines=", 10);
  Page* const page = new_page();
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context_of(second)), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  while (!__atomic_load_n(&printed, __ATOMIC_SEQ_CST)) {
    make_read_only(page);
    make_writable(page);
  }
}
