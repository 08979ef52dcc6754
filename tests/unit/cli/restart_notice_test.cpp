// What users are told about devices when a guest starts again beside others.
#include "cli/hotplug/restart_notice.hpp"

#include <gtest/gtest.h>

namespace pinfold::cli {
namespace {

GuestConfig guest_with(std::initializer_list<const char*> disks, std::size_t interfaces) {
  GuestConfig config;
  for (const char* vdev : disks) config.disks.emplace_back().vdev = vdev;
  config.vifs.resize(interfaces);
  return config;
}

const DeviceKey xvda{"vbd", 51712}, xvdb{"vbd", 51728}, vif0{"vif", 0}, vif1{"vif", 1};

TEST(RestartNotice, a_guest_whose_devices_stayed_gets_none) {
  EXPECT_EQ(restart_notice(guest_with({"xvda"}, 1), {xvda, vif0}, {}), std::nullopt);
  EXPECT_EQ(restart_notice(guest_with({"xvda"}, 1), {xvda, vif0}, {{xvdb, "xvdb"}}), std::nullopt)
      << "it came, and went again";
  EXPECT_EQ(restart_notice(guest_with({}, 0), {}, {}), std::nullopt);
}

TEST(RestartNotice, devices_that_commands_brought_are_lost) {
  const auto notice =
      restart_notice(guest_with({"xvda"}, 1), {xvda, xvdb, vif0, vif1}, {{xvdb, "xvdb"}, {vif1, "vif 1"}});
  ASSERT_TRUE(notice);
  EXPECT_NE(notice->find(": without xvdb, vif 1; attach"), std::string::npos) << *notice;
}

TEST(RestartNotice, devices_that_commands_took_come_back) {
  const auto notice = restart_notice(guest_with({"xvda"}, 2), {vif1}, {});
  ASSERT_TRUE(notice);
  EXPECT_NE(notice->find(": again with xvda, vif 0; attach"), std::string::npos) << *notice;
}

TEST(RestartNotice, a_medium_that_was_changed_is_the_first_one_again) {
  const auto notice = restart_notice(guest_with({"xvda", "xvdb"}, 0), {xvda, xvdb}, {{xvdb, "xvdb"}});
  ASSERT_TRUE(notice);
  EXPECT_NE(notice->find(": with xvdb as configured; attach"), std::string::npos) << *notice;
}

TEST(RestartNotice, interfaces_have_the_numbers_of_the_configuration) {
  GuestConfig config = guest_with({}, 1);
  config.vifs[0].number = 1;
  EXPECT_EQ(restart_notice(config, {vif1}, {}), std::nullopt);
}

}  // namespace
}  // namespace pinfold::cli
