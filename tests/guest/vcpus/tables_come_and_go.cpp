// One vCPU thousands of times turns a page into a page table and back, while another one reads and
// never leaves the guest by itself. The monitor must not use a released mirror again while the
// other vCPU can walk it.
#include "vcpus/second_vcpu.hpp"

using namespace kit;

namespace {

/// Twice the number after which the monitor asks all vCPUs to flush.
constexpr u64 rounds = 2200;
u64 reads = 0;
Page* page;

void second() {
  for (;;) {
    (void)*reinterpret_cast<volatile u64*>(page);
    __atomic_add_fetch(&reads, 1, __ATOMIC_SEQ_CST);
  }
}

}  // namespace

void test() {
  page = new_page();
  CHECK_EQ(make_read_only(page), 0);
  CHECK_EQ(vcpu_op(VCPUOP_initialise, 1, &context_of(second)), 0);
  // No timer makes it leave the guest; only a vCPU that waits for it does.
  CHECK_EQ(vcpu_op(VCPUOP_stop_periodic_timer, 1), 0);
  CHECK_EQ(vcpu_op(VCPUOP_up, 1), 0);
  CHECK(goes_on(reads, 2));
  long refused = 0;
  for (u64 round = 0; round < rounds; ++round) {
    refused += extended(MMUEXT_PIN_L1_TABLE, mfn_of(page)) != 0;
    refused += extended(MMUEXT_UNPIN_TABLE, mfn_of(page)) != 0;
  }
  CHECK_EQ(refused, 0);
  CHECK(goes_on(reads, 2));
}
