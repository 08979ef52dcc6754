// The numbers of disks, by the table of xen-vbd-interface(7).
#include "cli/config/vdev.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace pinfold::cli::test {
namespace {

TEST(Vdev, names_have_the_numbers_of_xen_vbd_interface) {
  const std::vector<std::pair<std::string, std::uint32_t>> table{
      {"xvda", 202 << 8},
      {"xvda1", (202 << 8) + 1},
      {"xvda15", (202 << 8) + 15},
      {"xvda16", (1 << 28) + 16},
      {"xvda255", (1 << 28) + 255},
      {"xvdb", (202 << 8) + 16},
      {"xvdp15", (202 << 8) + 255},
      {"xvdq", (1 << 28) + (16 << 8)},
      {"xvdz", (1 << 28) + (25 << 8)},
      {"xvdaa", (1 << 28) + (26 << 8)},
      {"xvdtq37", (1 << 28) + (536 << 8) + 37},
      {"d0", 202 << 8},
      {"d0p0", 202 << 8},
      {"d1p2", (202 << 8) + 18},
      {"d536p37", (1 << 28) + (536 << 8) + 37},
      {"d1048575p255", (1 << 28) + (1048575 << 8) + 255},
      {"sda", 8 << 8},
      {"sdb3", (8 << 8) + 19},
      {"sdp15", (8 << 8) + 255},
      {"hda", 3 << 8},
      {"hdb1", (3 << 8) + 65},
      {"hdc2", (22 << 8) + 2},
      {"hdd63", (22 << 8) + 127},
      {"51712", 51712},
      {"2064", 2064},
      {"0xca00", 51712},
      {"0145000", 51712},
      {"2147483647", 2147483647},
  };
  for (const auto& [name, number] : table) EXPECT_EQ(vdev_number(name), number) << name;
}

TEST(Vdev, what_the_form_has_no_room_for_is_no_disk) {
  for (const char* name : {"",
                           "xvd",
                           "xvda0",
                           "xvda01",
                           "xvda256",
                           "xvda1x",
                           "xvdA",
                           "xvd1",
                           "xvdbgqcw",
                           "xvdzzzzzzzzzz",
                           "sdq",
                           "sda16",
                           "hde",
                           "hda64",
                           "d",
                           "d1048576",
                           "d0p256",
                           "d0p",
                           "dp1",
                           "d-1",
                           "0",
                           "2147483648",
                           "99999999999999999999",
                           "0x",
                           "08",
                           "12 ",
                           " xvda",
                           "cdrom",
                           "vda",
                           "xvda 1",
                           "-1"})
    EXPECT_EQ(vdev_number(name), std::nullopt) << name;
  EXPECT_EQ(vdev_number("xvdbgqcv"), (1U << 28) + (1048575U << 8)) << "the last disk";
}

}  // namespace
}  // namespace pinfold::cli::test
