// shared_info, and where each vCPU's vcpu_info is.
#include <cstdint>

#include <xen/xen.h>

#include "vmm/shared_info.hpp"

#include <gtest/gtest.h>

namespace pinfold::vmm {
namespace {

struct Scene {
  SharedInfo info{SharedFrame{Mfn(7), SharedPage::of_monitor()}, 40};
};

TEST(SharedInfo, legacy_vcpus_have_their_vcpu_info_in_the_page) {
  Scene s;
  EXPECT_EQ(s.info.frame(), Mfn(7));
  s.info.info(VcpuId(31)).set_upcall_pending();
  EXPECT_EQ(s.info.page().load<std::uint8_t>(31 * VcpuInfo::size), 1);
  EXPECT_EQ(s.info.place(VcpuId(31)).offset, 31 * VcpuInfo::size);
}

TEST(SharedInfo, what_is_written_for_the_others_reaches_no_legacy_one) {
  Scene s;
  s.info.info(VcpuId(32)).set_upcall_pending();
  for (std::uint32_t i = 0; i < 32; ++i) EXPECT_FALSE(s.info.info(VcpuId(i)).upcall_pending());
  EXPECT_FALSE(s.info.info(VcpuId(33)).upcall_pending());
}

TEST(SharedInfo, events_are_masked_at_first) {
  Scene s;
  for (std::uint32_t i = 0; i < 40; ++i) EXPECT_TRUE(s.info.info(VcpuId(i)).upcall_mask()) << i;
}

TEST(SharedInfo, a_vcpu_info_that_moves_takes_its_content_along) {
  Scene s;
  s.info.info(VcpuId(2)).set_upcall_pending();
  s.info.info(VcpuId(2)).set_cr2(0x1234);
  const SharedPage page = SharedPage::of_monitor();
  s.info.move(VcpuId(2), page, 128);
  EXPECT_TRUE(s.info.info(VcpuId(2)).upcall_pending());
  EXPECT_EQ(page.load<std::uint64_t>(128 + 16), 0x1234U);
  s.info.info(VcpuId(2)).set_cr2(0x5678);
  EXPECT_EQ(s.info.page().load<std::uint64_t>(2 * VcpuInfo::size + 16), 0x1234U) << "the old place stays";
}

TEST(SharedInfo, the_wall_clock_has_an_even_version_and_the_time_at_zero) {
  class Host final : public HostClock {
   public:
    std::uint64_t tsc() const override { return 0; }
    std::uint64_t awake() const override { return 0; }
    std::uint64_t asleep() const override { return 0; }
    std::uint64_t wall() const override { return (1ULL << 32) * 1'000'000'000 + 17'000'000'005; }
  } host;
  const Clock clock(2'000'000, 0, host);
  Scene s;
  s.info.publish_wall_clock(clock);
  const SharedPage& page = s.info.page();
  EXPECT_EQ(page.load<std::uint32_t>(offsetof(shared_info_t, wc_version)), 2U);
  EXPECT_EQ(page.load<std::uint32_t>(offsetof(shared_info_t, wc_sec)), 17U);
  EXPECT_EQ(page.load<std::uint32_t>(offsetof(shared_info_t, wc_sec_hi)), 1U);
  EXPECT_EQ(page.load<std::uint32_t>(offsetof(shared_info_t, wc_nsec)), 5U);
}

}  // namespace
}  // namespace pinfold::vmm
