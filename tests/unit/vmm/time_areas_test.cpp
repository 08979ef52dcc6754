// The guest's copies of its time and run state.
#include <cstdint>

#include <xen/vcpu.h>
#include <xen/xen.h>

#include "vmm/cpu/time_areas.hpp"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "vmm/vcpu_info.hpp"

namespace pinfold::vmm {
namespace {

/// Remembers each store, in its order.
class Recorder final : public GuestMemory {
 public:
  Status read(GuestVaddr, std::span<std::byte>) override { return fail(Errno::efault); }
  Status write(GuestVaddr to, std::span<const std::byte> from) override {
    stores.emplace_back(to.raw(), std::vector(from.begin(), from.end()));
    return {};
  }
  template <class T>
  [[nodiscard]] T at(std::size_t i) const {
    T value{};
    EXPECT_EQ(stores.at(i).second.size(), sizeof value);
    std::memcpy(&value, stores[i].second.data(), sizeof value);
    return value;
  }
  std::vector<std::pair<std::uint64_t, std::vector<std::byte>>> stores;
};

class StillHost final : public HostClock {
 public:
  std::uint64_t tsc() const override { return 5000; }
  std::uint64_t awake() const override { return 1; }
  std::uint64_t asleep() const override { return 0; }
  std::uint64_t wall() const override { return 1; }
};

struct Scene {
  StillHost host;
  Clock clock{2'000'000, 77, host};
  Recorder memory;
  TimeAreas areas;
  VcpuInfoPlace place{SharedPage::of_monitor(), VcpuInfo::size};
  RunStateClock run_state;

  vcpu_time_info_t published() {
    vcpu_time_info_t time{};
    place.page.copy_out(place.offset + VcpuInfo::time_offset, std::as_writable_bytes(std::span(&time, 1)));
    return time;
  }
};

TEST(TimeAreas, time_goes_into_vcpu_info_with_an_even_version_that_grows) {
  Scene s;
  s.areas.publish_time(s.memory, s.place, s.clock, true);
  const vcpu_time_info_t first = s.published();
  EXPECT_EQ(first.version % 2, 0U);
  EXPECT_EQ(first.tsc_timestamp, s.clock.stamp().tsc);
  EXPECT_EQ(first.system_time, s.clock.stamp().time);
  EXPECT_EQ(first.tsc_to_system_mul, s.clock.scale().mul);
  EXPECT_EQ(first.tsc_shift, s.clock.scale().shift);
  EXPECT_EQ(first.flags, XEN_PVCLOCK_TSC_STABLE_BIT);
  EXPECT_TRUE(s.memory.stores.empty());
  s.areas.publish_time(s.memory, s.place, s.clock, false);
  EXPECT_GT(s.published().version, first.version);
  EXPECT_EQ(s.published().version % 2, 0U);
  EXPECT_EQ(s.published().flags, 0);
}

TEST(TimeAreas, a_registered_area_gets_the_same_between_an_odd_and_an_even_version) {
  Scene s;
  s.areas.set_time_area(GuestVaddr(0x4000));
  s.areas.publish_time(s.memory, s.place, s.clock, true);
  ASSERT_EQ(s.memory.stores.size(), 3U);
  EXPECT_EQ(s.memory.stores[0].first, 0x4000U);
  const vcpu_time_info_t there = s.published();
  EXPECT_EQ(s.memory.at<std::uint32_t>(0), there.version - 1);
  EXPECT_EQ(s.memory.stores[1].first, 0x4000U + sizeof there.version);
  const auto& rest = s.memory.stores[1].second;
  ASSERT_EQ(rest.size(), sizeof there - sizeof there.version);
  EXPECT_EQ(std::memcmp(rest.data(), &there.pad0, rest.size()), 0);
  EXPECT_EQ(s.memory.stores[2].first, 0x4000U);
  EXPECT_EQ(s.memory.at<std::uint32_t>(2), there.version);
}

TEST(TimeAreas, run_state_is_written_where_the_guest_wants_it) {
  Scene s;
  s.run_state.enter(RunState::running, 100);
  s.run_state.enter(RunState::blocked, 130);
  s.areas.publish_run_state(s.memory, s.run_state, 150, false);
  EXPECT_TRUE(s.memory.stores.empty()) << "the guest has not said where";
  s.areas.set_run_state_area(GuestVaddr(0x5000));
  s.areas.publish_run_state(s.memory, s.run_state, 150, false);
  ASSERT_EQ(s.memory.stores.size(), 1U);
  const auto info = s.memory.at<vcpu_runstate_info_t>(0);
  EXPECT_EQ(info.state, RUNSTATE_blocked);
  EXPECT_EQ(info.state_entry_time, 130U);
  EXPECT_EQ(info.time[RUNSTATE_running], 30U);
  EXPECT_EQ(info.time[RUNSTATE_blocked], 20U);
}

TEST(TimeAreas, with_the_update_flag_the_entry_time_is_marked_while_the_rest_is_written) {
  Scene s;
  s.run_state.enter(RunState::running, 100);
  s.areas.set_run_state_area(GuestVaddr(0x5000));
  s.areas.publish_run_state(s.memory, s.run_state, 150, true);
  ASSERT_EQ(s.memory.stores.size(), 3U);
  const std::uint64_t entry_time = 0x5000 + offsetof(vcpu_runstate_info_t, state_entry_time);
  EXPECT_EQ(s.memory.stores[0].first, entry_time);
  EXPECT_EQ(s.memory.at<std::uint64_t>(0), 100 | XEN_RUNSTATE_UPDATE);
  EXPECT_EQ(s.memory.stores[1].first, 0x5000U);
  EXPECT_EQ(s.memory.at<vcpu_runstate_info_t>(1).state_entry_time, 100 | XEN_RUNSTATE_UPDATE);
  EXPECT_EQ(s.memory.stores[2].first, entry_time);
  EXPECT_EQ(s.memory.at<std::uint64_t>(2), 100U);
}

}  // namespace
}  // namespace pinfold::vmm
