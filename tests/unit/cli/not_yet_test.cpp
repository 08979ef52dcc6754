// What a configuration can say, and a start can't do yet.
#include "cli/config/not_yet.hpp"

#include <gtest/gtest.h>

namespace pinfold::cli::test {
namespace {

TEST(NotYet, a_plain_guest_can_start) { EXPECT_TRUE(not_yet(GuestConfig{}).empty()); }

TEST(NotYet, a_guest_with_interfaces_can_start) {
  GuestConfig guest;
  guest.vifs.resize(2);
  guest.vifs[1].backend = "net";
  EXPECT_TRUE(not_yet(guest).empty());
}

TEST(NotYet, every_action_is_possible) {
  GuestConfig guest;
  guest.on_poweroff = guest.on_reboot = EndAction::preserve;
  guest.on_crash = guest.on_watchdog = EndAction::rename_restart;
  EXPECT_TRUE(not_yet(guest).empty());
}

TEST(NotYet, disks_are_judged_one_by_one) {
  GuestConfig guest;
  guest.disks.resize(3);
  guest.disks[0].format = DiskFormat::qcow2;
  guest.disks[1].backend = "storage";
  guest.disks[1].script = "block-y";
  guest.disks[2].script = "block-x";
  bool third = false;
  for (const auto& [key, index, message] : not_yet(guest)) {
    EXPECT_EQ(key, "disk");
    EXPECT_NE(index, 1U) << "the driver domain runs the script";
    third = third || (index == 2 && message.find("script") != std::string::npos);
  }
  EXPECT_TRUE(third);
}

}  // namespace
}  // namespace pinfold::cli::test
