#include <bit>

#include "grant_table_fixture.hpp"

namespace pinfold::devices {
namespace {

constexpr std::int64_t esrch = -3, efault = -14, einval = -22, enosys = -38;

TEST_F(GrantTableTest, setup_lists_the_frames_and_asks_for_each_once) {
  EXPECT_EQ(setup(2), GNTST_okay);
  EXPECT_EQ(*memory.fetch<std::uint64_t>(GuestVaddr(0x4000)), 0x100u);
  EXPECT_EQ(*memory.fetch<std::uint64_t>(GuestVaddr(0x4008)), 0x101u);
  EXPECT_EQ(setup(3), GNTST_okay);
  EXPECT_EQ(setup(1), GNTST_okay);
  EXPECT_EQ(frames.pages.size(), 3u);
}

TEST_F(GrantTableTest, setup_above_the_maximum_or_without_memory_is_a_general_error) {
  EXPECT_EQ(setup(5), GNTST_general_error);
  EXPECT_EQ(setup(0xffffffff), GNTST_general_error);
  EXPECT_EQ(frames.pages.size(), 0u);
  frames.limit = 1;
  EXPECT_EQ(setup(2), GNTST_general_error);
}

TEST_F(GrantTableTest, setup_tells_a_bad_list_and_a_bad_domain_in_its_status) {
  EXPECT_EQ(setup(1, 8), GNTST_bad_virt_addr);
  EXPECT_EQ(setup(1, 0x4000, 7), GNTST_bad_domain);
  EXPECT_EQ(setup(1, 0x4000, 1), GNTST_okay) << "its own number";
}

TEST_F(GrantTableTest, single_operations_take_exactly_one) {
  gnttab_query_size args{};
  for (const std::uint32_t op : {GNTTABOP_setup_table, GNTTABOP_query_size, GNTTABOP_get_status_frames}) {
    EXPECT_EQ(call(op, args, 0), einval) << op;
    EXPECT_EQ(call(op, args, 2), einval) << op;
    EXPECT_EQ(call_at(op, 8, 1), efault) << op;
  }
  // As on Xen, these take one, whatever the count says.
  for (const std::uint32_t op : {GNTTABOP_set_version, GNTTABOP_get_version})
    for (const std::uint32_t count : {0u, 1u, 2u}) EXPECT_EQ(call_at(op, 8, count), efault) << op;
}

TEST_F(GrantTableTest, a_negative_count_is_einval_for_every_operation) {
  for (std::uint32_t op = 0; op < 20; ++op)
    EXPECT_EQ(call_at(op, FakeMemory::base, 0x80000000), einval) << op;
}

TEST_F(GrantTableTest, a_detached_table_holds_no_frame) {
  EXPECT_EQ(setup(2), GNTST_okay);
  EXPECT_GT(frames.pages[0].users(), 0u);
  table.detach();
  EXPECT_EQ(frames.pages[0].users() + frames.pages[1].users(), 0u);
}

TEST_F(GrantTableTest, query_size_counts_frames) {
  gnttab_query_size args{};
  args.dom = DOMID_SELF;
  EXPECT_EQ(call(GNTTABOP_query_size, args), 0);
  EXPECT_EQ(args.status, GNTST_okay);
  EXPECT_EQ(args.nr_frames, 1u);
  EXPECT_EQ(args.max_nr_frames, 4u);
}

TEST_F(GrantTableTest, only_version_one_exists) {
  gnttab_set_version args{1};
  EXPECT_EQ(call(GNTTABOP_set_version, args), 0);
  args = {2};
  EXPECT_EQ(call(GNTTABOP_set_version, args), enosys);
  EXPECT_EQ(args.version, 1u);
  args = {3};
  EXPECT_EQ(call(GNTTABOP_set_version, args), einval);
  gnttab_get_version get{DOMID_SELF, 0, 0};
  EXPECT_EQ(call(GNTTABOP_get_version, get), 0);
  EXPECT_EQ(get.version, 1u);
  get.dom = 9;
  EXPECT_EQ(call(GNTTABOP_get_version, get), esrch);
  gnttab_get_status_frames frames_of_status{};
  frames_of_status.dom = DOMID_SELF;
  frames_of_status.nr_frames = 1;
  EXPECT_EQ(call(GNTTABOP_get_status_frames, frames_of_status), 0);
  EXPECT_EQ(frames_of_status.status, GNTST_general_error);
}

TEST_F(GrantTableTest, every_operation_of_an_array_gets_its_own_status) {
  std::array<gnttab_map_grant_ref, 3> maps{};
  maps[0].dom = 5;
  maps[0].flags = GNTMAP_host_map;
  maps[1].dom = 5;
  maps[2].dom = 1;
  maps[2].flags = GNTMAP_host_map;
  EXPECT_EQ(call(GNTTABOP_map_grant_ref, maps, 3), 0);
  EXPECT_EQ(maps[0].status, GNTST_bad_domain);
  EXPECT_EQ(maps[1].status, GNTST_bad_gntref);
  EXPECT_EQ(maps[2].status, GNTST_general_error) << "nothing is granted";

  std::array<gnttab_unmap_grant_ref, 2> unmaps{};
  EXPECT_EQ(call(GNTTABOP_unmap_grant_ref, unmaps, 2), 0);
  EXPECT_EQ(unmaps[1].status, GNTST_bad_handle);
}

TEST_F(GrantTableTest, an_array_that_leaves_memory_is_efault) {
  const std::uint64_t last = FakeMemory::base + memory.bytes.size() - sizeof(gnttab_map_grant_ref);
  EXPECT_EQ(call_at(GNTTABOP_map_grant_ref, last, 1), 0);
  EXPECT_EQ(call_at(GNTTABOP_map_grant_ref, last, 2), efault);
  EXPECT_EQ(call_at(GNTTABOP_map_grant_ref, last, 0), 0);
  EXPECT_EQ(call_at(GNTTABOP_map_grant_ref, last, 0x7fffffff), efault);
}

TEST_F(GrantTableTest, a_long_array_is_done_in_pieces) {
  constexpr std::uint64_t piece = 1024, count = piece + 3;
  ASSERT_LE(count * sizeof(gnttab_swap_grant_ref), memory.bytes.size());
  const auto status_of = [&](std::uint64_t i) {
    return memory
        .fetch<gnttab_swap_grant_ref>(GuestVaddr(FakeMemory::base + i * sizeof(gnttab_swap_grant_ref)))
        ->status;
  };
  for (std::uint64_t i = 0; i < count; ++i)
    ASSERT_TRUE(memory.store(GuestVaddr(FakeMemory::base + i * sizeof(gnttab_swap_grant_ref)),
                             gnttab_swap_grant_ref{~0U, ~0U, 99}));
  vmm::Hypercall hypercall{VcpuId(0), 20, {GNTTABOP_swap_grant_ref, FakeMemory::base, count}, memory};
  pvmmu::Budget budget(piece * pvmmu::cost::request);
  hypercall.budget = &budget;
  EXPECT_EQ(table.grant_table_op(hypercall), 0);
  EXPECT_EQ(hypercall.completion, vmm::Completion::restart);
  EXPECT_EQ(hypercall.args[2], 3U);
  EXPECT_EQ(status_of(count - 4), GNTST_bad_gntref);
  EXPECT_EQ(status_of(count - 3), 99);
  hypercall.completion = vmm::Completion::result;
  // With nothing left it does one, and gets on.
  EXPECT_EQ(table.grant_table_op(hypercall), 0);
  EXPECT_EQ(hypercall.completion, vmm::Completion::restart);
  EXPECT_EQ(hypercall.args[2], 2U);
  hypercall.completion = vmm::Completion::result;
  budget = pvmmu::Budget(2 * pvmmu::cost::request);
  EXPECT_EQ(table.grant_table_op(hypercall), 0);
  EXPECT_EQ(hypercall.completion, vmm::Completion::result);
  EXPECT_EQ(status_of(count - 1), GNTST_bad_gntref);
}

/// Counts accesses, of which those that write fail from one on.
struct WatchedMemory : FakeMemory {
  [[nodiscard]] Status read(GuestVaddr from, std::span<std::byte> to) override {
    ++reads;
    return FakeMemory::read(from, to);
  }
  [[nodiscard]] Status write(GuestVaddr to, std::span<const std::byte> from) override {
    if (!from.empty() && ++writes > most_writes) return fail(Errno::efault);
    return FakeMemory::write(to, from);
  }
  int reads = 0, writes = 0, most_writes = 1000;
};

/// A list of copies, each from 8 bytes of frame 7 to another place of frame 8.
struct GrantList : GrantTableTest {
  void make(std::uint64_t at, std::uint16_t count) {
    list = at;
    for (std::uint16_t i = 0; i < count; ++i) {
      target.frames[7].shared().store<std::uint64_t>(i * 8U, i + 1U);
      gnttab_copy args{};
      args.source.domid = args.dest.domid = DOMID_SELF;
      args.source.u.gmfn = 7;
      args.dest.u.gmfn = 8;
      args.source.offset = args.dest.offset = static_cast<std::uint16_t>(i * 8);
      args.len = 8;
      args.status = 99;
      ASSERT_TRUE(
          watched.FakeMemory::write(GuestVaddr(at + i * sizeof args), std::as_bytes(std::span(&args, 1))));
    }
  }
  std::int64_t copy(std::uint64_t count) {
    vmm::Hypercall hypercall{VcpuId(0), 20, {GNTTABOP_copy, list, count}, watched, &lock.held};
    return table.grant_table_op(hypercall);
  }
  std::int16_t status(std::uint64_t i) {
    return watched.fetch<gnttab_copy>(GuestVaddr(list + i * sizeof(gnttab_copy)))->status;
  }
  std::uint64_t copied(std::uint64_t i) { return target.frames[8].shared().load<std::uint64_t>(i * 8); }

  WatchedMemory watched;
  std::uint64_t list = 0;
};

TEST_F(GrantList, is_done_whole_wherever_its_operations_lie) {
  constexpr std::uint16_t count = 300;
  for (const std::uint64_t at : {0x1000ULL, 0x1fffULL, 0x1fd8ULL, 0x1fd9ULL}) {
    make(at, count);
    EXPECT_EQ(copy(count), 0);
    for (std::uint64_t i = 0; i < count; ++i) {
      ASSERT_EQ(status(i), GNTST_okay) << i;
      ASSERT_EQ(copied(i), i + 1) << i;
      target.frames[8].shared().store<std::uint64_t>(i * 8, 0);
    }
  }
}

TEST_F(GrantList, is_read_and_written_sixteen_operations_at_a_time) {
  make(0x1000, 32);
  EXPECT_EQ(copy(32), 0);
  EXPECT_EQ(watched.reads, 2);
  EXPECT_EQ(watched.writes, 4);
}

TEST_F(GrantList, in_memory_that_cant_be_written_does_one_operation) {
  make(0x1000, 32);
  watched.most_writes = 0;
  EXPECT_EQ(copy(32), efault);
  EXPECT_EQ(copied(0), 1U);
  EXPECT_EQ(copied(1), 0U);
}

TEST_F(GrantList, that_goes_on_in_memory_that_cant_be_written_does_one_operation_there) {
  // Six times sixteen operations, then six that are whole in the page; the next one is in both pages.
  make(0x1000, 110);
  watched.most_writes = 2 * 7;
  EXPECT_EQ(copy(110), efault);
  EXPECT_EQ(status(101), GNTST_okay);
  EXPECT_EQ(copied(102), 103U);
  EXPECT_EQ(copied(103), 0U);
}

TEST_F(GrantTableTest, unknown_and_absent_operations_say_so) {
  for (const std::uint32_t op : {3u, 12u, 13u, 0xfffu})
    EXPECT_EQ(call_at(op, FakeMemory::base, 1), enosys) << op;
  for (const std::uint32_t op : {0x1000u, 0xffffu}) EXPECT_EQ(call_at(op, FakeMemory::base, 1), einval) << op;
}

TEST_F(GrantTableTest, a_backend_gets_only_what_is_granted_to_it) {
  ASSERT_EQ(setup(2), GNTST_okay);
  grant(600, GTF_permit_access, 0, 0x1234);
  grant(601, GTF_permit_access | GTF_readonly, 0, 0x1235);
  auto& entries = table.entries();
  EXPECT_EQ(*entries.acquire(GrantRef(600), DomId(0), GrantUse::write), Mfn(0x1234));
  EXPECT_EQ(entries.acquire(GrantRef(600), DomId(3), GrantUse::read).error(), Errno::eperm);
  EXPECT_EQ(entries.acquire(GrantRef(601), DomId(0), GrantUse::write).error(), Errno::eperm);
  EXPECT_EQ(*entries.acquire(GrantRef(601), DomId(0), GrantUse::read), Mfn(0x1235));
  grant(603, GTF_permit_access, 3, 0x1236);
  EXPECT_EQ(entries.acquire(GrantRef(603), DomId(0), GrantUse::read).error(), Errno::eperm);
  EXPECT_EQ(entries.acquire(GrantRef(602), DomId(0), GrantUse::read).error(), Errno::eperm);
  EXPECT_EQ(entries.acquire(GrantRef(1024), DomId(0), GrantUse::read).error(), Errno::erange);
  EXPECT_EQ(entries.acquire(GrantRef(0xffffffff), DomId(0), GrantUse::read).error(), Errno::erange);
}

TEST_F(GrantTableTest, a_grant_in_use_keeps_its_frame_and_its_grantee_whatever_the_entry_says) {
  ASSERT_EQ(setup(1), GNTST_okay);
  grant(9, GTF_permit_access, 3, 7);
  auto& entries = table.entries();
  EXPECT_EQ(*entries.acquire(GrantRef(9), DomId(3), GrantUse::read), Mfn(7));
  grant(9, GTF_permit_access | GTF_readonly, 4, 8);
  EXPECT_EQ(*entries.acquire(GrantRef(9), DomId(3), GrantUse::read), Mfn(7));
  EXPECT_EQ(entries.acquire(GrantRef(9), DomId(4), GrantUse::read).error(), Errno::eperm);
  EXPECT_EQ(entries.acquire(GrantRef(9), DomId(3), GrantUse::write).error(), Errno::eperm) << "read-only now";
  entries.release(GrantRef(9), GrantUse::read);
  entries.release(GrantRef(9), GrantUse::read);
  EXPECT_EQ(*entries.acquire(GrantRef(9), DomId(4), GrantUse::read), Mfn(8));
}

TEST_F(GrantTableTest, a_copy_that_is_the_first_to_write_a_grant_in_use_finds_the_same_frame) {
  ASSERT_EQ(setup(1), GNTST_okay);
  grant(9, GTF_permit_access, 3, 7);
  auto& entries = table.entries();
  ASSERT_TRUE(entries.acquire(GrantRef(9), DomId(3), GrantUse::read));
  grant(9, GTF_permit_access | GTF_reading, 3, 8);
  EXPECT_EQ(entries.acquire(GrantRef(9), DomId(3), GrantUse::write, GrantSpan::copy).error(), Errno::eperm);
  EXPECT_EQ(flags(9), GTF_permit_access | GTF_reading);
  EXPECT_EQ(*entries.acquire(GrantRef(9), DomId(3), GrantUse::read, GrantSpan::copy), Mfn(7));
  EXPECT_EQ(*entries.acquire(GrantRef(9), DomId(3), GrantUse::write), Mfn(7));
  EXPECT_EQ(*entries.acquire(GrantRef(9), DomId(3), GrantUse::write, GrantSpan::copy), Mfn(7));
}

TEST_F(GrantTableTest, parts_of_pages_are_copied_and_not_mapped) {
  ASSERT_EQ(setup(1), GNTST_okay);
  grant(9, GTF_permit_access | GTF_sub_page, 3, 7);
  auto& entries = table.entries();
  EXPECT_EQ(entries.acquire(GrantRef(9), DomId(3), GrantUse::read).error(), Errno::eperm);
  EXPECT_EQ(*entries.acquire(GrantRef(9), DomId(3), GrantUse::read, GrantSpan::copy), Mfn(7));
}

TEST_F(GrantTableTest, the_end_of_a_read_leaves_the_guests_own_mark_of_writing) {
  ASSERT_EQ(setup(1), GNTST_okay);
  grant(9, GTF_permit_access | GTF_writing, 3, 7);
  auto& entries = table.entries();
  ASSERT_TRUE(entries.acquire(GrantRef(9), DomId(3), GrantUse::read));
  EXPECT_TRUE(entries.swap(GrantRef(9), GrantRef(9)));
  entries.release(GrantRef(9), GrantUse::read);
  EXPECT_EQ(flags(9), GTF_permit_access | GTF_writing);
}

TEST_F(GrantTableTest, a_grant_in_use_is_marked_until_its_last_user_is_gone) {
  ASSERT_EQ(setup(1), GNTST_okay);
  grant(9, GTF_permit_access, 0, 7);
  auto& entries = table.entries();
  ASSERT_TRUE(entries.acquire(GrantRef(9), DomId(0), GrantUse::write));
  ASSERT_TRUE(entries.acquire(GrantRef(9), DomId(0), GrantUse::read));
  EXPECT_EQ(flags(9), GTF_permit_access | GTF_reading | GTF_writing);
  EXPECT_EQ(entries.swap(GrantRef(9), GrantRef(10)).error(), Errno::ebusy);
  entries.release(GrantRef(9), GrantUse::write);
  EXPECT_EQ(flags(9), GTF_permit_access | GTF_reading);
  entries.release(GrantRef(9), GrantUse::read);
  EXPECT_EQ(flags(9), GTF_permit_access);
  EXPECT_TRUE(entries.swap(GrantRef(9), GrantRef(10)));
  EXPECT_EQ(*entries.acquire(GrantRef(10), DomId(0), GrantUse::read), Mfn(7));
}

}  // namespace
}  // namespace pinfold::devices
