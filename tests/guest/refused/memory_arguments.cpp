// memory_op with all kinds of arguments: it returns the count of completed extents or an error, and its work
// is bounded whatever the guest's count is.
#include <xen/memory.h>

#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

constexpr u64 bad_pointers[] = {0x7654321000,       0x0000800000000000, 0x8000000000000000,
                                0xffff804000000000, 0xffff87fffffffff8, 0xfffffffffffffff9};
constexpr u32 changes[] = {XENMEM_increase_reservation, XENMEM_decrease_reservation, XENMEM_populate_physmap};

template <class T>
long memory(u64 command, T argument) {
  return hypercall(__HYPERVISOR_memory_op, command, argument);
}

long current() {
  domid_t self = DOMID_SELF;
  return memory(XENMEM_current_reservation, &self);
}

xen_memory_reservation extents(u64 list, u64 count) {
  xen_memory_reservation r{};
  r.extent_start.p = reinterpret_cast<xen_pfn_t*>(list);
  r.nr_extents = count;
  r.domid = DOMID_SELF;
  return r;
}

void pointers() {
  for (u64 bad : bad_pointers) {
    for (u64 command : changes) CHECK_EQ(memory(command, bad), 0);
    for (u64 command : {XENMEM_exchange, XENMEM_machphys_mapping, XENMEM_current_reservation,
                        XENMEM_maximum_reservation, XENMEM_maximum_gpfn})
      CHECK_EQ(memory(command, bad), efault);
    // The list in the structure, with counts up to the largest.
    for (u64 count : {1UL, 513UL, 0xffffffffUL, 1UL << 39, ~0UL}) {
      auto request = extents(bad, count);
      CHECK_EQ(memory(XENMEM_decrease_reservation, &request), 0);
      CHECK_EQ(memory(XENMEM_populate_physmap, &request), 0);
      CHECK_EQ(memory(XENMEM_increase_reservation, &request), 0);
    }
  }
}

void frames() {
  if (is_dom0()) return;  // Xen accepts a frame that was already given back, without effect
  static u64 list[4];
  for (u64 bad : {0UL, 1UL << 20, (1UL << 40) - 1, 1UL << 52, ~0UL, info->shared_info / page_size}) {
    list[0] = mfn_of(new_page());
    list[1] = bad;
    list[2] = list[0];
    auto request = extents(word(list), 3);
    CHECK_EQ(memory(XENMEM_decrease_reservation, &request), 1);  // up to the bad one
    // A frame that is given back while it is mapped stays the guest's until the mapping is gone. It
    // can't be given back twice.
    request = extents(word(list), 1);
    CHECK_EQ(memory(XENMEM_decrease_reservation, &request), 0);
  }
  // An extent of many frames whose last ones are not the guest's.
  list[0] = mfn_of(new_page());
  auto request = extents(word(list), 1);
  request.extent_order = 9;
  CHECK(memory(XENMEM_decrease_reservation, &request) <= 1);
}

void domains_and_progress() {
  u64 list[1] = {0};
  for (u64 domain : {0UL, 1UL, 77UL, u64{DOMID_IO}, u64{DOMID_XEN}, u64{DOMID_INVALID}}) {
    auto request = extents(word(list), 1);
    request.domid = static_cast<domid_t>(domain);
    for (u64 command : changes) CHECK_EQ(memory(command, &request), 0);
  }
  // A forged progress counter of a restarted call: past the end, or far past it.
  for (u64 done : {1UL, 2UL, 0xffffffffUL, 1UL << 40, (1UL << 58) - 1}) {
    auto request = extents(word(list), 1);
    for (u64 command : changes) CHECK_EQ(memory(command | done << 6, &request), static_cast<long>(done));
  }
  domid_t other = 77;
  CHECK_EQ(memory(XENMEM_current_reservation, &other), esrch);
}

void commands() {
  Page* page = new_page();
  if (is_dom0()) return;
  for (u64 command : {8UL, 18UL, 28UL, 40UL, 63UL}) CHECK(memory(command, page) < 0);
  for (u64 command : {XENMEM_machphys_mfn_list, XENMEM_machine_memory_map, XENMEM_set_memory_map})
    CHECK(memory(command, page) < 0);
  CHECK(memory(XENMEM_add_to_physmap, page) < 0);
}

/// If the guest can't be given the frames' numbers, it does not get the frames.
void an_answer_that_can_not_be_stored() {
  if (is_dom0()) return;  // with Xen the guest has them nevertheless
  static u64 given[1];
  Page* page = new_page();
  given[0] = mfn_of(page);
  CHECK_EQ(map(page, 0), 0);
  auto back = extents(word(given), 1);
  CHECK_EQ(memory(XENMEM_decrease_reservation, &back), 1);
  const long before = current();
  for (u64 command : {XENMEM_increase_reservation, XENMEM_populate_physmap}) {
    auto request = extents(word(table_of(1, word(page))), 1);  // readable, never writable
    CHECK_EQ(memory(command, &request), 0);
    CHECK_EQ(current(), before);
  }
  auto unlisted = extents(0, 1);
  CHECK_EQ(memory(XENMEM_increase_reservation, &unlisted), 1);
  CHECK_EQ(current(), before + 1);
}

/// XSA-502. Xen has the operation, but a domain has memory nodes only if its toolstack made some.
void memory_nodes() {
  static xen_vnuma_topology_info nodes;
  nodes.domid = DOMID_SELF;
  nodes.nr_vnodes = nodes.nr_vcpus = nodes.nr_vmemranges = ~0U;
  CHECK_EQ(memory(XENMEM_get_vnumainfo, &nodes), is_dom0() ? eopnotsupp : enosys);
  CHECK_EQ(nodes.nr_vnodes, ~0U);
}

}  // namespace

void test() {
  install_traps();
  cr2();
  pointers();
  domains_and_progress();
  commands();
  an_answer_that_can_not_be_stored();
  memory_nodes();
  frames();
}
