// A guest that may have more memory later: its memory map says so, but it gets nothing beyond its limit. What
// it gives back is gone when nothing uses it any more, and comes back zeroed.
#include <xen/memory.h>

#include "kit/kit.hpp"
#include "refused/errors.hpp"

using namespace kit;

namespace {

long memory(u64 command, void* argument) { return hypercall(__HYPERVISOR_memory_op, command, argument); }

long size(u64 command) {
  domid_t self = DOMID_SELF;
  return memory(command, &self);
}
long current() { return size(XENMEM_current_reservation); }

long change(u64 command, u64* list, u64 count, u32 order = 0) {
  xen_memory_reservation request{};
  request.extent_start.p = list;
  request.nr_extents = count;
  request.extent_order = order;
  request.domid = DOMID_SELF;
  return memory(command, &request);
}
long give(u64* list, u64 count, u32 order = 0) {
  return change(XENMEM_decrease_reservation, list, count, order);
}
long populate(u64* list, u64 count, u32 order = 0) {
  return change(XENMEM_populate_physmap, list, count, order);
}

/// Frames that are mapped nowhere: the last ones of the guest's memory, `which` counts from the end.
u64 spare_frame(u64 which) {
  return reinterpret_cast<const u64*>(info->mfn_list)[info->nr_pages - 1 - which];
}

struct [[gnu::packed]] Range {
  u64 first, bytes;
  u32 type;
};

void memory_map(u64 most) {
  Range ranges[2] = {{7, 7, 7}, {7, 7, 7}};
  xen_memory_map map{};
  map.nr_entries = 2;
  map.buffer.p = ranges;
  CHECK_EQ(memory(XENMEM_memory_map, &map), 0);
  CHECK_EQ(map.nr_entries, 1);
  CHECK_EQ(ranges[0].first, 0);
  CHECK_EQ(ranges[0].bytes, most);
  CHECK_EQ(ranges[0].type, 1);
  CHECK_EQ(ranges[1].bytes, 7);
  map.nr_entries = 0;
  CHECK_EQ(memory(XENMEM_memory_map, &map), 0);
  CHECK_EQ(map.nr_entries, 0);
  map.nr_entries = ~0U;
  map.buffer.p = reinterpret_cast<void*>(unmapped_address());
  CHECK_EQ(memory(XENMEM_memory_map, &map), efault);
  map.buffer.p = const_cast<Page*>(table_of(1, word(&map)));  // a page table of ours
  CHECK_EQ(memory(XENMEM_memory_map, &map), efault);
  CHECK_EQ(memory(XENMEM_memory_map, reinterpret_cast<void*>(unmapped_address())), efault);
}

/// The machine has frames left, but the guest has all that it may have.
void nothing_beyond_the_limit() {
  u64 list[4] = {info->nr_pages, info->nr_pages + 1, info->nr_pages + 2, info->nr_pages + 3};
  CHECK_EQ(current(), info->nr_pages);
  CHECK_EQ(size(XENMEM_maximum_reservation), info->nr_pages);
  for (u32 order : {0U, 1U, 9U}) {
    CHECK_EQ(populate(list, 4, order), 0);
    CHECK_EQ(change(XENMEM_increase_reservation, list, 4, order), 0);
  }
  CHECK_EQ(list[0], info->nr_pages);  // nothing was written
  CHECK_EQ(current(), info->nr_pages);
}

/// As much as was given back, and no frame more.
void what_was_given_back() {
  constexpr u64 many = 20;
  static u64 list[many + 1];
  for (u64 i = 0; i < many; ++i) list[i] = spare_frame(i);
  CHECK_EQ(give(list, many), many);
  CHECK_EQ(current(), info->nr_pages - many);
  CHECK_EQ(give(list, many), 0);  // they are nobody's now
  for (u64 i = 0; i <= many; ++i) list[i] = info->nr_pages + i;
  CHECK_EQ(populate(list, 1, 5), 0);  // 32 of them
  CHECK_EQ(populate(list, many + 1), many);
  CHECK_EQ(list[many], info->nr_pages + many);
  CHECK_EQ(current(), info->nr_pages);
  for (u64 i = 0; i < many; ++i) {
    const u64 place = unmapped_address();
    CHECK_EQ(map(place, list[i] * page_size | data), 0);
    for (u64 w = 0; w < 512; ++w)
      if (reinterpret_cast<const volatile u64*>(place)[w] != 0) CHECK_EQ(w, -1);
    CHECK_EQ(map(place, 0), 0);
  }
  CHECK_EQ(give(list, many), many);
  CHECK_EQ(populate(list, many), many);  // so that the next step finds the guest as it was
}

/// What was written is gone, whoever gets the frame.
void no_old_contents() {
  const u64 place = unmapped_address();
  u64 list[1] = {spare_frame(30)};
  CHECK_EQ(map(place, list[0] * page_size | data), 0);
  for (u64 w = 0; w < 512; ++w) reinterpret_cast<volatile u64*>(place)[w] = 0x5ec2e7;
  CHECK_EQ(map(place, 0), 0);
  CHECK_EQ(give(list, 1), 1);
  list[0] = 77;
  CHECK_EQ(populate(list, 1), 1);
  CHECK_EQ(map(place, list[0] * page_size | data), 0);
  for (u64 w = 0; w < 512; ++w)
    if (reinterpret_cast<const volatile u64*>(place)[w] != 0) CHECK_EQ(w, -1);
  CHECK_EQ(map(place, 0), 0);
}

/// A frame that is in use when it is given back stays the guest's, and counts, until the last use ends.
void frames_in_use() {
  Page* page = new_page();
  page->words[0] = 0x1234;
  u64 list[1] = {mfn_of(page)};
  u64 more[1] = {info->nr_pages};
  CHECK_EQ(give(list, 1), 1);
  CHECK_EQ(page->words[0], 0x1234);
  CHECK_EQ(current(), info->nr_pages);
  CHECK_EQ(populate(more, 1), 0);
  CHECK_EQ(map(page, 0), 0);
  CHECK_EQ(current(), info->nr_pages - 1);
  CHECK_EQ(populate(more, 1), 1);
  // The same with a page table: it is validated, and remains one.
  Page* table = new_page();
  table->words[0] = more[0] * page_size | data;
  CHECK_EQ(make_read_only(table), 0);
  list[0] = mfn_of(table);
  CHECK_EQ(extended(MMUEXT_PIN_L1_TABLE, list[0]), 0);
  CHECK_EQ(give(list, 1), 1);
  CHECK_EQ(make_writable(table), ebusy);
  more[0] = info->nr_pages + 1;
  CHECK_EQ(populate(more, 1), 0);
  CHECK_EQ(extended(MMUEXT_UNPIN_TABLE, list[0]), 0);
  CHECK_EQ(map(table, 0), 0);
  CHECK_EQ(populate(more, 1), 1);
  CHECK_EQ(current(), info->nr_pages);
}

/// Neighbours go together. Those that only look like neighbours, or are in use, go one by one or not at all.
/// With frames that no other step uses.
void neighbours() {
  constexpr u64 many = 100;
  static u64 list[many];
  const auto get = [](u64 count) {
    for (u64 i = 0; i < count; ++i) list[i] = info->nr_pages + i;
    CHECK_EQ(populate(list, count), count);
    CHECK_EQ(current(), info->nr_pages);
  };
  for (u64 i = 0; i < many; ++i) list[i] = spare_frame(40 + i);
  CHECK_EQ(give(list, many), many);
  CHECK_EQ(current(), info->nr_pages - many);
  get(many);
  for (u64 i = 0; i < many / 2; ++i) {
    const u64 first = list[i];
    list[i] = list[many - 1 - i];
    list[many - 1 - i] = first;
  }
  CHECK_EQ(give(list, many), many);
  CHECK_EQ(current(), info->nr_pages - many);
  get(many);
  const u64 place = unmapped_address();
  CHECK_EQ(map(place, list[2] * page_size | data), 0);
  *reinterpret_cast<volatile u64*>(place) = 0x1234;
  CHECK_EQ(give(list, 4), 4);
  CHECK_EQ(current(), info->nr_pages - 3);
  CHECK_EQ(*reinterpret_cast<volatile u64*>(place), 0x1234);
  CHECK_EQ(map(place, 0), 0);
  CHECK_EQ(current(), info->nr_pages - 4);
  for (u64 odd : {~0ULL, 0ULL, ~0ULL >> 12}) {
    u64 up[2] = {odd, odd + 1}, down[2] = {odd, odd - 1};
    CHECK_EQ(give(up, 2), 0);
    CHECK_EQ(give(down, 2), 0);
  }
  u64 twice[3] = {list[5], list[6], list[5]};
  CHECK_EQ(give(twice, 3), 2);
  CHECK_EQ(current(), info->nr_pages - 6);
  get(6);
}

}  // namespace

void test() {
  install_traps();
  const u64 most = number_behind("most=", info->nr_pages * page_size >> 20) << 20;
  memory_map(most);
  nothing_beyond_the_limit();
  what_was_given_back();
  no_old_contents();
  frames_in_use();
  neighbours();
}
