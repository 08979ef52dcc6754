// The guest of docs/questions.md: it tries what the five questions are about, prints the results, and then
// waits, so that somebody can look at it.
#include <xen/sched.h>

#include "kit/kit.hpp"
#include "kit/user_mode.hpp"

using namespace kit;

namespace {

/// A frame of no domain: the machine is larger than the guest.
constexpr u64 unknown_frame = 0x2500;

}  // namespace

void test() {
  install_traps();
  Page* window = new_page();
  const u64 here = word(window);
  say("1: map a frame that is not mine: ", map(window, unknown_frame * page_size | data));
  say("1: name one in an L2: ",
      set_entry(entry_address(2, here), unknown_frame * page_size | present | user));

  Page* l1 = table_of(1, here);
  say("2: map a page table writable: ", map(window, mfn_of(l1) * page_size | data));
  say("2: name a page that I can write as an L1: ",
      set_entry(entry_address(2, here), mfn_of(window) * page_size | present | user));
  try_store(word(&l1->words[7]), 0x123);
  say("2: store into a page table: exception ", static_cast<long>(caught.vector), ", error code ",
      static_cast<long>(caught.error));

  say("4: load a page of data as root: ", extended(MMUEXT_NEW_BASEPTR, mfn_of(window)));
  say("4: load an L1 as root: ", extended(MMUEXT_NEW_BASEPTR, mfn_of(l1)));
  load_user_root();

  say("waiting; a page of mine is at ", hex(here));
  sched_poll poll{};
  poll.timeout = ~0ULL >> 1;
  for (;;) hypercall(__HYPERVISOR_sched_op, SCHEDOP_poll, &poll);
}
