// A list of requests lies in the table that they change, or in a page that they unmap. The values that are
// stored are those that were checked, even if the list has changed since.
#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

u64 frame_of(const void* p) { return mfn_of(p) * page_size; }

/// The words of an L1 read as requests: in turn addresses, which are entries that are
/// not present, and values.
void requests_in_their_own_table() {
  Page* table = new_page();
  Page* target = new_page();
  auto* list = reinterpret_cast<mmu_update_t*>(table);
  const u64 root = mfn_of(reinterpret_cast<void*>(info->pt_base)) * page_size;
  // Each request changes the value of the next one from a good entry to a bad one.
  constexpr u64 count = 64;
  for (u64 i = 0; i < count; ++i)
    list[i] = {frame_of(table) + (2 * i + 3) * 8, frame_of(target) | (data & ~writable)};
  CHECK_EQ(make_read_only(table), 0);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, mfn_of(table)), 0);
  u32 done = 0;
  CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, list, count, &done, DOMID_SELF), 0);
  CHECK_EQ(done, count);
  // The last request maps its own root writable, by the value that the first one stored.
  CHECK_EQ(set_entry(frame_of(table) + 8, root | (data & ~writable)), 0);
  CHECK_EQ(set_entry(frame_of(table) + 8, root | data), ebusy);
  CHECK_EQ(set_entry(frame_of(table) + 8, frame_of(table) | data), ebusy);
  CHECK_EQ(list[0].val & writable, 0);
  // A request that changes its own address word: the word is a table's entry, so the change is checked.
  CHECK_EQ(set_entry(frame_of(table), root | data), ebusy);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, mfn_of(table)), 0);
  CHECK_EQ(make_writable(table), 0);
}

/// The first request unmaps the list's own page or makes it read-only.
void a_list_that_takes_its_page_away() {
  Page* place = new_page();
  Page* target = new_page();
  for (u64 count : {2UL, 31UL, 32UL, 33UL, 200UL}) {
    auto* list = reinterpret_cast<mmu_update_t*>(place);
    for (u64 i = 0; i < count; ++i) list[i] = {frame_of(target) + i * 8, count};
    list[0] = {entry_address(1, word(place)), 0};
    u32 done = 0;
    const long got = hypercall(__HYPERVISOR_mmu_update, list, count, &done, DOMID_SELF);
    CHECK(got == efault || (got == 0 && done == count));
    CHECK(done >= 1);
    CHECK_EQ(make_writable(place), 0);
  }
}

/// The count of completed requests is to be stored in a table, or in a page that the list unmaps.
void a_count_that_can_not_be_told() {
  Page* place = new_page();
  auto* done = reinterpret_cast<u32*>(place);
  mmu_update_t request{entry_address(1, word(place)), 0};
  CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, &request, 1, done, DOMID_SELF), 0);
  CHECK_EQ(make_writable(place), 0);
  Page* table = table_of(2, word(place));
  const u64 before = table->words[0];
  request = {frame_of(place), 1};
  for (u64 where : {word(table), 0xffff804000000000UL, 0x8000000000000000UL})
    CHECK_EQ(hypercall(__HYPERVISOR_mmu_update, &request, 1, where, DOMID_SELF), 0);
  CHECK_EQ(table->words[0], before);
}

/// A multicall whose results are to be stored in a table, or in its own next entry.
void multicalls_in_tables() {
  Page* table = table_of(1, word(new_page()));
  const u64 before = table->words[1];
  CHECK(hypercall(__HYPERVISOR_multicall, table, 4) <= 0);
  CHECK_EQ(table->words[1], before);
  Page* place = new_page();
  auto* calls = reinterpret_cast<multicall_entry_t*>(place);
  // The first call unmaps the list's page, so its own result can't be stored.
  calls[0] = {};
  calls[0].op = __HYPERVISOR_update_va_mapping;
  calls[0].args[0] = word(place);
  calls[0].args[2] = UVMF_INVLPG;
  calls[1] = calls[0];
  CHECK_EQ(hypercall(__HYPERVISOR_multicall, calls, 2), efault);
  CHECK_EQ(make_writable(place), 0);
  // The first call rewrites the second by its machine address. The second is fetched after that,
  // so it runs as rewritten.
  mmu_update_t request{frame_of(place) + sizeof(multicall_entry_t), __HYPERVISOR_multicall};
  calls[0] = {};
  calls[0].op = __HYPERVISOR_mmu_update;
  calls[0].args[0] = word(&request);
  calls[0].args[1] = 1;
  calls[0].args[3] = DOMID_SELF;
  calls[1] = {};
  calls[1].op = __HYPERVISOR_xen_version;
  CHECK_EQ(hypercall(__HYPERVISOR_multicall, calls, 2), 0);
  CHECK_EQ(calls[1].result, einval);
}

}  // namespace

void test() {
  install_traps();
  cr2();
  requests_in_their_own_table();
  a_list_that_takes_its_page_away();
  a_count_that_can_not_be_told();
  multicalls_in_tables();
}
