// Frames that are not the guest's, or do not exist, are refused by all hypercalls.
#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

void refused_everywhere(u64 frame) {
  Page* window = new_page();
  CHECK(map(window, frame * page_size | data) < 0);
  CHECK(map(window, frame * page_size | (data & ~writable)) < 0);
  CHECK(set_entry(entry_address(1, word(window)), frame * page_size | data) < 0);
  for (u32 command :
       {MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L4_TABLE, MMUEXT_UNPIN_TABLE, MMUEXT_NEW_BASEPTR, MMUEXT_CLEAR_PAGE})
    CHECK_EQ(extended(command, frame), einval);
  if (frame != 0) CHECK_EQ(extended(MMUEXT_NEW_USER_BASEPTR, frame), einval);  // 0: none
  CHECK_EQ(set_entry(frame * page_size, 0), einval);
  CHECK_EQ(set_entry(frame * page_size, 0, MMU_MACHPHYS_UPDATE), einval);
  // As the table in an entry of an L2 and of an L4.
  CHECK_EQ(set_entry(entry_address(2, 0xffffffffbff00000 & ~0x1fffffUL), frame * page_size | present | user),
           einval);
  CHECK_EQ(set_entry(entry_address(4, 0x1000), frame * page_size | present | user), einval);
  // The window still shows its own page.
  window->words[1] = frame;
  CHECK_EQ(window->words[1], frame);
}

}  // namespace

void test() {
  Page* window = new_page();
  if (!is_dom0()) {
    refused_everywhere(0);
    refused_everywhere(foreign_frame());  // exists, but belongs to no domain
    CHECK_EQ(map(window, foreign_frame() * page_size | data), ebusy);
    CHECK_EQ(map(window, 0xfffffffffUL * page_size | data), eperm);  // no RAM
  }
  refused_everywhere(0xfffffffffe);
  CHECK_EQ(map(window, address_bits | data), einval);  // the all-ones frame
  // Frames of a domain that does not exist, and of the hypervisor.
  mmu_update_t request{entry_address(1, word(window)), mfn_of(window) * page_size | data};
  CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, &request, 1, nullptr, 4242), esrch);
  CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, &request, 1, nullptr, DOMID_INVALID), esrch);
}
