#include "loader/layout.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace pinfold::loader::testing {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t mib = 256;  // pages
constexpr std::uint64_t linux_base = 0xffffffff80000000;

/// A kernel of `pages` pages at 16 MiB, as Linux is.
KernelAddresses kernel_of(std::uint64_t pages, std::uint64_t base = linux_base) {
  KernelAddresses at;
  at.virt_base = GuestVaddr(base);
  at.start = GuestVaddr(base + (16 << 20));
  at.end = at.start.plus(pages * page_size);
  at.entry = at.start;
  return at;
}

LayoutRequest linux_request() {
  LayoutRequest request;
  request.kernel = kernel_of(60 * mib);
  request.kernel.init_p2m = GuestVaddr(0x8000000000);
  request.initrd_unmapped = true;
  request.nr_pages = 512 * mib;
  request.initrd_size = (30 << 20) + 1;
  return request;
}

LayoutRequest old_request() {
  LayoutRequest request = linux_request();
  request.kernel.init_p2m.reset();
  request.initrd_unmapped = false;
  return request;
}

/// The elements of a layout, in the order in which they should lie.
std::vector<PfnRun> elements(const Layout& l) {
  const auto page = [](Pfn pfn) { return PfnRun{pfn, 1}; };
  std::vector<PfnRun> list{l.kernel};
  if (l.initrd_mapped) list.push_back(l.initrd);
  if (!l.p2m_mapping) list.push_back(l.p2m);
  list.insert(list.end(), {page(l.start_info), page(l.xenstore_ring), page(l.console_ring), l.page_tables,
                           page(l.boot_stack)});
  if (!l.initrd_mapped && l.initrd.count != 0) list.push_back(l.initrd);
  if (l.p2m_mapping) list.insert(list.end(), {l.p2m, l.p2m_page_tables});
  return list;
}

void expect_in_order_without_overlap(const Layout& layout) {
  Pfn next(0);
  for (const PfnRun& run : elements(layout)) {
    EXPECT_GE(run.first, next);
    EXPECT_GT(run.count, 0U);
    next = run.end();
  }
  EXPECT_LE(next, layout.end);
}

/// Every address of a mapping must find a table at each level, in the frames set aside for tables of that
/// level.
void expect_tables_cover(const Layout& layout, const Mapping& mapping) {
  for (std::uint64_t page = 0; page < mapping.pages.count; ++page) {
    for (std::size_t level = 1; level <= 4; ++level) {
      const Pfn table = layout.table_for(level, mapping.va.raw() + page * page_size);
      ASSERT_TRUE(layout.is_page_table(table)) << page << " level " << level;
    }
  }
}

TEST(Layout, elements_are_packed_in_the_order_of_the_abi) {
  for (const auto& request : {linux_request(), old_request()}) {
    const auto layout = plan_layout(request);
    ASSERT_TRUE(layout) << layout.error().message;
    expect_in_order_without_overlap(*layout);
  }
  const auto old = plan_layout(old_request()).value();
  EXPECT_EQ(old.kernel.first, Pfn(16 * mib));
  EXPECT_EQ(old.initrd.first, old.kernel.end());
  EXPECT_EQ(old.p2m.first, old.initrd.end());
  EXPECT_EQ(old.start_info, old.p2m.end());
  EXPECT_EQ(old.xenstore_ring, old.start_info.plus(1));
  EXPECT_EQ(old.console_ring, old.start_info.plus(2));
  EXPECT_EQ(old.page_tables.first, old.start_info.plus(3));
  EXPECT_EQ(old.boot_stack, old.page_tables.end());
}

TEST(Layout, known_example_of_a_linux_kernel) {
  // 76 MiB of kernel end, 3 pages, 42 tables, stack and 512 KiB: the boundary is at 80 MiB, 40 L1 tables.
  const auto layout = plan_layout(linux_request()).value();
  EXPECT_EQ(layout.start_info, Pfn(76 * mib));
  EXPECT_EQ(layout.page_tables.count, 40U + 1 + 1 + 1);
  EXPECT_EQ(layout.main.pages.count, 80 * mib);
  EXPECT_EQ(layout.initrd.first, Pfn(80 * mib));
  EXPECT_EQ(layout.initrd.count, 30 * mib + 1);
  EXPECT_EQ(layout.p2m.first, layout.initrd.end());
  EXPECT_EQ(layout.p2m.count, 256U);  // 512 MiB: 131,072 entries of 8 bytes
  EXPECT_EQ(layout.p2m_page_tables.count, 3U);
  EXPECT_EQ(layout.p2m_va(), GuestVaddr(0x8000000000));
  EXPECT_EQ(layout.p2m_frames().count, 259U);
  EXPECT_EQ(layout.end, layout.p2m_page_tables.end());
}

TEST(Layout, main_mapping_ends_at_4_mib_with_at_least_512_kib_spare) {
  for (std::uint64_t pages = 58 * mib; pages < 63 * mib; pages += 7) {
    auto request = linux_request();
    request.kernel = kernel_of(pages);
    const auto layout = plan_layout(request).value();
    EXPECT_EQ(layout.main.pages.count % (4 * mib), 0U);
    EXPECT_GE(layout.main.pages.count, layout.boot_stack.raw() + 1 + mib / 2);
    EXPECT_LE(layout.main.pages.count, layout.boot_stack.raw() + 1 + mib / 2 + 4 * mib);
  }
}

TEST(Layout, what_ends_on_a_boundary_gets_another_4_mib) {
  const auto mapped_pages = [](std::uint64_t kernel_pages) {
    auto request = linux_request();
    request.kernel = kernel_of(kernel_pages);
    request.kernel.init_p2m = GuestVaddr(0x8000000000);
    return plan_layout(request)->main.pages.count;
  };
  // Three pages, 43 tables, stack and 128 pages of padding end on 80 MiB exactly. The first guess, without
  // tables, is 80 MiB; the tables just fit, which is enough.
  EXPECT_EQ(mapped_pages(64 * mib - 3 - 43 - 1 - 128), 80 * mib);
  EXPECT_EQ(mapped_pages(64 * mib - 3 - 43 - 128), 84 * mib);
  // Even without tables on the boundary: strictly above it.
  EXPECT_EQ(mapped_pages(64 * mib - 3 - 1 - 128), 84 * mib);
}

TEST(Layout, tables_cover_both_mappings) {
  for (const std::uint64_t p2m :
       {0x8000000000UL, 0xffffffff00000000UL, 0xffffffff7fe00000UL, 0xffffff8000000000UL}) {
    auto request = linux_request();
    request.kernel.init_p2m = GuestVaddr(p2m);
    const auto layout = plan_layout(request);
    ASSERT_TRUE(layout) << layout.error().message;
    expect_tables_cover(*layout, layout->main);
    expect_tables_cover(*layout, *layout->p2m_mapping);
  }
}

TEST(Layout, p2m_mapping_shares_upper_tables_where_it_can) {
  const auto tables = [](std::uint64_t p2m) {
    auto request = linux_request();
    request.kernel.init_p2m = GuestVaddr(p2m);
    return plan_layout(request)->p2m_page_tables.count;
  };
  EXPECT_EQ(tables(0x8000000000), 3U);        // L4 shared
  EXPECT_EQ(tables(0xffffffff00000000), 2U);  // L3 too
  // With a base that is not 1 GiB aligned, L2 and even L1 can be shared.
  LayoutRequest request = linux_request();
  request.kernel = kernel_of(mib, 0xffffffff80101000);
  request.kernel.init_p2m = GuestVaddr(0xffffffff80001000);
  EXPECT_EQ(plan_layout(request)->p2m_page_tables.count, 0U);
}

TEST(Layout, p2m_that_would_run_into_the_kernel_is_refused) {
  auto request = linux_request();
  request.kernel.init_p2m = GuestVaddr(linux_base - 255 * page_size);
  EXPECT_THAT(plan_layout(request).error().message, HasSubstr("INIT_P2M"));
  request.kernel.init_p2m = GuestVaddr(linux_base - 256 * page_size);
  EXPECT_TRUE(plan_layout(request));
  request.kernel.init_p2m = GuestVaddr(xen_range_begin);
  EXPECT_THAT(plan_layout(request).error().message, HasSubstr("INIT_P2M"));
}

TEST(Layout, no_initrd_takes_no_frames) {
  for (auto request : {linux_request(), old_request()}) {
    request.initrd_size = 0;
    const auto layout = plan_layout(request).value();
    EXPECT_EQ(layout.initrd.count, 0U);
    EXPECT_FALSE(layout.initrd_mapped);
  }
}

TEST(Layout, least_memory_that_is_named_is_the_least_that_works) {
  for (auto request : {linux_request(), old_request()}) {
    request.nr_pages = 8 * mib;
    const auto refused = plan_layout(request);
    ASSERT_FALSE(refused);
    const std::string& message = refused.error().message;
    EXPECT_THAT(message, HasSubstr("memory of 8 MiB is too small"));
    const auto least = std::stoull(message.substr(message.rfind("least ") + 6));
    request.nr_pages = least * mib;
    EXPECT_TRUE(plan_layout(request));
    request.nr_pages = (least - 1) * mib;
    EXPECT_FALSE(plan_layout(request));
  }
}

TEST(Layout, memory_of_no_pages_is_refused) {
  auto request = linux_request();
  request.nr_pages = 0;
  EXPECT_THAT(plan_layout(request).error().message, HasSubstr("too small"));
}

TEST(Layout, absurd_sizes_are_refused_without_overflow) {
  auto request = old_request();
  request.initrd_size = ~std::uint64_t{0};
  EXPECT_FALSE(plan_layout(request));
  request = old_request();
  request.nr_pages = ~std::uint64_t{0};
  EXPECT_FALSE(plan_layout(request));
  request = old_request();
  request.initrd_size = std::uint64_t{3} << 30;  // more than lies between Linux's base and the top
  request.nr_pages = std::uint64_t{8} << 18;
  EXPECT_THAT(plan_layout(request).error().message, HasSubstr("does not fit"));
}

TEST(Layout, kernel_at_virtual_zero_works) {
  auto request = old_request();
  request.kernel = kernel_of(mib, 0);
  const auto layout = plan_layout(request).value();
  EXPECT_EQ(layout.va(Pfn(1)), GuestVaddr(page_size));
  expect_tables_cover(layout, layout.main);
}

TEST(Layout, kernel_that_starts_within_a_page_occupies_the_page) {
  auto request = linux_request();
  request.kernel.start = request.kernel.start.plus(0x78);
  request.kernel.end = request.kernel.end.plus(1);
  const auto layout = plan_layout(request).value();
  EXPECT_EQ(layout.kernel.first, Pfn(16 * mib));
  EXPECT_EQ(layout.kernel.count, 60 * mib + 1);
}

}  // namespace
}  // namespace pinfold::loader::testing
