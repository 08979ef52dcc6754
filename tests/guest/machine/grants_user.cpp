// Uses what its neighbour (grants_owner.cpp) grants, and tries everything else with the neighbour's frames.
#include <xen/version.h>

#include "machine/attacks.hpp"

using namespace kit;

namespace {

void maps_only_what_is_granted() {
  for (u32 ref : {0U, 7U, 14U, 511U}) CHECK_EQ(try_map(ref, window(0)).status, GNTST_general_error);
  for (u32 ref : {512U, 0x7fffffffU, ~0U}) CHECK_EQ(try_map(ref, window(0)).status, GNTST_bad_gntref);
  CHECK_EQ(try_map(secret_ref, window(0), GNTMAP_host_map, 77).status, GNTST_bad_domain);
  CHECK_EQ(try_map(read_only_ref, window(0)).status, GNTST_general_error);
  CHECK_EQ(try_map(table_ref, window(0)).status, GNTST_general_error);
  CHECK_EQ(try_map(secret_ref, 0x8000000000000000).status, GNTST_general_error);
  CHECK_EQ(entry_of(1, window(0)), 0);
}

void tables_are_read_at_most() {
  const auto mapped = try_map(table_ref, window(0), GNTMAP_host_map | GNTMAP_readonly);
  CHECK_EQ(mapped.status, GNTST_okay);
  CHECK_EQ(*reinterpret_cast<volatile u64*>(window(0)), 0);
  try_store(window(0), data);
  CHECK_EQ(caught.vector, 14);
  CHECK_EQ(map(window(0), entry_of(1, window(0)) | writable), ebusy);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_okay);
}

void tables_of_others_are_theirs() {
  gnttab_query_size size{other(), 99, 0, 0};
  CHECK_EQ(grant_op(GNTTABOP_query_size, size), 0);
  CHECK_EQ(size.status, GNTST_permission_denied);
  gnttab_setup_table setup{};
  setup.dom = other();
  setup.nr_frames = 1;
  u64 frame = 5;
  setup.frame_list.p = &frame;
  CHECK_EQ(grant_op(GNTTABOP_setup_table, setup), 0);
  CHECK_EQ(setup.status, GNTST_permission_denied);
  CHECK_EQ(frame, 5);
  gnttab_get_version version{other(), 0, 99};
  CHECK_EQ(grant_op(GNTTABOP_get_version, version), eperm);
  size.dom = 77;
  CHECK_EQ(grant_op(GNTTABOP_query_size, size), 0);
  CHECK_EQ(size.status, GNTST_bad_domain);
}

gnttab_copy::gnttab_copy_ptr end_at(u64 frame, u32 offset) {
  gnttab_copy::gnttab_copy_ptr end{};
  end.u.gmfn = frame;
  end.domid = DOMID_SELF;
  end.offset = static_cast<u16>(offset);
  return end;
}
gnttab_copy::gnttab_copy_ptr end_by(u32 ref, u32 offset) {
  gnttab_copy::gnttab_copy_ptr end{};
  end.u.ref = ref;
  end.domid = other();
  end.offset = static_cast<u16>(offset);
  return end;
}
gnttab_copy a_copy(u16 flags, gnttab_copy::gnttab_copy_ptr source, gnttab_copy::gnttab_copy_ptr dest,
                   u16 length) {
  return {source, dest, length, flags, 99};
}

void copies_in_both_directions() {
  Page* own = new_page();
  const u64 frame = mfn_of(own);
  own->words[2] = reply;
  constexpr u16 from = GNTCOPY_source_gref, to = GNTCOPY_dest_gref;
  gnttab_copy batch[] = {
      a_copy(from, end_by(read_only_ref, 40), end_at(frame, 0), 8),
      a_copy(to, end_at(frame, 16), end_by(second_ref, 16), 8),
      a_copy(from | to, end_by(read_only_ref, 40), end_by(second_ref, 24), 8),
      a_copy(from, end_by(second_ref, 16), end_at(frame, 8), 16),
      a_copy(to, end_at(frame, 0), end_by(read_only_ref, 0), 8),
      a_copy(to, end_at(frame, 0), end_by(table_ref, 0), 8),
      a_copy(from, end_by(forged_ref, 0), end_at(frame, 0), 8),
      a_copy(from, end_by(512, 0), end_at(frame, 0), 8),
      a_copy(from, end_by(read_only_ref, 4089), end_at(frame, 0), 8),
      a_copy(to, end_at(frame, 0), end_by(second_ref, 4089), 8),
      a_copy(to, end_at(frame, 0), end_by(second_ref, 4096), 0xffff),
  };
  constexpr u32 count = sizeof batch / sizeof *batch;
  CHECK_EQ(grant_op(GNTTABOP_copy, batch[0], count), 0);
  const long wanted[] = {GNTST_okay,          GNTST_okay,          GNTST_okay,          GNTST_okay,
                         GNTST_general_error, GNTST_general_error, GNTST_general_error, GNTST_bad_gntref,
                         GNTST_bad_copy_arg,  GNTST_bad_copy_arg,  GNTST_bad_copy_arg};
  for (u32 i = 0; i < count; ++i) CHECK_EQ(batch[i].status, wanted[i]);
  CHECK_EQ(own->words[0], secret);
  CHECK_EQ(own->words[1], reply);
  CHECK_EQ(own->words[2], secret);
}

/// The owner ends while its page is mapped: it stays as it was, until it is unmapped.
void outlives_its_owner() {
  const auto mapped = try_map(secret_ref, window(0));
  CHECK_EQ(mapped.status, GNTST_okay);
  tell(mailbox->of_user, 1);
  const u64 end = now_ns() + 90'000'000'000;
  while (try_map(second_ref, window(1), GNTMAP_device_map).status != GNTST_bad_domain && now_ns() < end)
    nap();
  CHECK_EQ(try_map(secret_ref, window(1)).status, GNTST_bad_domain);
  auto* seen = reinterpret_cast<volatile u64*>(window(0));
  CHECK_EQ(seen[5], secret);
  seen[6] = reply;
  CHECK_EQ(seen[6], reply);
  attacks(mapped.dev_bus_addr / page_size);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_okay);
  try_load(window(0));
  CHECK_EQ(caught.vector, 14);
  say("the user is done");
}

/// Maps, writes, copies and unmaps whatever is granted at the moment, without end.
[[noreturn]] void forever() {
  Page* own = new_page();
  u64 done = 0;
  for (u64 i = 0;; ++i) {
    const u32 ref = secret_ref + static_cast<u32>(i % 4);
    const u32 flags = GNTMAP_host_map | (i % 3 == 0 ? GNTMAP_readonly : 0U);
    const auto mapped = try_map(ref, window(i % 4), flags);
    if (mapped.status == GNTST_okay) {
      ++done;
      if (i % 3 != 0) reinterpret_cast<volatile u64*>(window(i % 4))[9] = i << 1;
      if (i % 5 == 0) CHECK_EQ(map(window(i % 4), 0), 0);  // then it stays mapped to the end
      const long unmapped = unmap_grant(mapped.handle, window(i % 4));
      CHECK_EQ(unmapped, i % 5 == 0 ? GNTST_general_error : GNTST_okay);
    }
    gnttab_copy copy = a_copy(GNTCOPY_dest_gref, end_at(mfn_of(own), 0), end_by(ref, 0), 4096);
    CHECK_EQ(grant_op(GNTTABOP_copy, copy), 0);
    if (i == 2000) say("round ", hex(done));
  }
}

}  // namespace

void test() {
  install_traps();
  if (asked_for("forever")) forever();
  user_open_mailbox();
  await(mailbox->of_owner, 1);
  if (asked_for("ends")) return outlives_its_owner();
  const u64 frame = mailbox->frame;
  attacks(frame);
  maps_only_what_is_granted();
  tables_are_read_at_most();
  tables_of_others_are_theirs();
  copies_in_both_directions();

  const auto mapped = try_map(secret_ref, window(0));
  CHECK_EQ(mapped.status, GNTST_okay);
  CHECK_EQ(mapped.dev_bus_addr, frame * page_size);
  const auto read_only = try_map(read_only_ref, window(1), GNTMAP_host_map | GNTMAP_readonly);
  CHECK_EQ(read_only.status, GNTST_okay);
  auto* seen = reinterpret_cast<volatile u64*>(window(0));
  CHECK_EQ(seen[5], secret);
  CHECK_EQ(reinterpret_cast<volatile u64*>(window(1))[5], secret);
  seen[6] = reply;
  try_store(window(1), 1);
  CHECK_EQ(caught.vector, 14);
  attacks(frame);
  attacks(read_only.dev_bus_addr / page_size);
  // Its hypercalls may have their arguments there.
  CHECK_EQ(hypercall(__HYPERVISOR_xen_version, XENVER_capabilities, window(0) + page_size / 2), 0);
  constexpr u64 half = page_size / 2 / sizeof(u64);
  CHECK(seen[half] != 0);
  for (u64 i = half; i < 2 * half; ++i) seen[i] = 0;
  CHECK_EQ(hypercall(__HYPERVISOR_xen_version, XENVER_capabilities, window(1)), efault);
  tell(mailbox->of_user, 1);

  await(mailbox->of_owner, 2);
  seen[7] = reply + 2;
  CHECK_EQ(unmap_grant(read_only.handle, window(0)), GNTST_general_error);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_okay);
  CHECK_EQ(unmap_grant(mapped.handle, window(0)), GNTST_bad_handle);
  CHECK_EQ(unmap_grant(read_only.handle, window(1)), GNTST_okay);
  for (u64 n : {0, 1}) {
    try_load(window(n));
    CHECK_EQ(caught.vector, 14);
  }
  attacks(frame);
  tell(mailbox->of_user, 2);

  await(mailbox->of_owner, 3);
  CHECK_EQ(try_map(secret_ref, window(0)).status, GNTST_general_error);
  tell(mailbox->of_user, 3);
  say("the user is done");
}
