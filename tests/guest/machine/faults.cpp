// Makes page faults, while a neighbour uses up what the machine has for it (exhausts.cpp). Each round is one
// fault of the kernel's and two changes of an entry. With "lends" it grants its neighbour a page.
#include <xen/sched.h>

#include "machine/grants.hpp"

using namespace kit;

namespace {

void wait_a_while() {
  sched_poll args{};
  args.timeout = now_ns() + 200'000'000;
  (void)hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, &args);
}

}  // namespace

void test() {
  install_traps();
  constexpr u64 rounds = 10000;
  Page* const page = new_page();
  const u64 window = unmapped_address();
  CHECK_EQ(map(window, 0), 0);
  if (asked_for("lends")) {
    grant(secret_ref, mfn_of(new_page()));
    meeting::tell("lends", 1);
  }
  // Seldom, because the hypercalls for it count.
  while (!store::same(store::read(store::Text("/local/domain/", meeting::other(), "/data/begins")), ""))
    wait_a_while();
  for (u64 i = 0; i < rounds; ++i) {
    try_load(window);
    CHECK_EQ(caught.vector, 14);
    CHECK_EQ(map(window, mfn_of(page) * page_size | data), 0);
    try_load(window);
    CHECK_EQ(caught.vector, Caught::none);
    CHECK_EQ(map(window, 0), 0);
  }
  say("faulted");
}
