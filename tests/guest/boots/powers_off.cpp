// At its entry a guest finds what the ABI promises. It prints on the console, and powers off.
#include <xen/version.h>

#include "kit/kit.hpp"

using namespace kit;

namespace {

bool starts_with(const char* text, const char* start) {
  while (*start != 0)
    if (*text++ != *start++) return false;
  return true;
}

}  // namespace

void test() {
  CHECK(starts_with(info->magic, "xen-3.0-x86_64"));
  CHECK(info->nr_pages >= 1024);
  CHECK_EQ(info->pt_base % page_size, 0);
  CHECK(page_of(mfn_of(reinterpret_cast<void*>(info->pt_base))) == reinterpret_cast<Page*>(info->pt_base));
  CHECK(hypercall(__HYPERVISOR_xen_version, XENVER_version, nullptr) >= 4 << 16);
  // PV GRUB mistakes this address for the number of a frame.
  CHECK(page_of(info->shared_info) == nullptr);
  CHECK(shared() != nullptr);
  CHECK_EQ(shared()->vcpu_info[0].evtchn_upcall_mask, 1);
  const u64 before = now_ns();
  CHECK(now_ns() >= before);
}
