// One instruction causes a hundred thousand page faults at one address, all of which the hypervisor resolves:
// the page is dropped, read and written again, like by a program that uses madvise. The guest goes on.
#include "kit/kit.hpp"

using namespace kit;

namespace {

[[gnu::noinline]] void write_there(volatile u64* place) { *place = *place + 1; }

}  // namespace

void test() {
  const u64 faults = number_behind("faults=", 100'100);
  Page* const page = new_page();
  const u64 clean = mfn_of(page) * page_size | present | writable;  // neither accessed nor dirty
  u64 refused = 0;
  for (u64 i = 0; i < faults; ++i) {
    refused += hypercall(__HYPERVISOR_update_va_mapping, page, clean, UVMF_INVLPG) != 0;
    write_there(page->words);
  }
  CHECK_EQ(refused, 0);
  CHECK_EQ(page->words[0], faults);
  CHECK((entry_of(1, word(page)) & dirty) != 0);
}
