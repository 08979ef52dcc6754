#include "cli/doctor.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "vmm/kvm/kvm.hpp"

namespace pinfold::cli {
namespace {

TEST(Doctor, missing_device_gives_one_line_and_exit_code_4) {
  std::ostringstream out;
  EXPECT_EQ(doctor(false, out, "/dev/no-such-device"), 4);
  const std::string text = out.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_NE(text.find("load kvm-intel or kvm-amd"), std::string::npos);
}

TEST(Doctor, missing_device_is_told_in_json_too) {
  std::ostringstream out;
  EXPECT_EQ(doctor(true, out, "/dev/no-such-device"), 4);
  const auto report = nlohmann::json::parse(out.str());
  EXPECT_EQ(report["usable"], false);
  EXPECT_EQ(report["reason"], "missing");
}

TEST(Doctor, usable_host_is_reported_with_all_findings) {
  if (const auto kvm = vmm::Kvm::open(); !kvm) GTEST_SKIP() << kvm.error().message;
  std::ostringstream out;
  ASSERT_EQ(doctor(true, out), 0) << out.str();
  const auto report = nlohmann::json::parse(out.str());
  EXPECT_EQ(report["usable"], true);
  for (const char* key :
       {"device",        "shadow_paging", "mprotect",          "userfaultfd", "max_map_count", "slot_256",
        "syscall_cpl",   "int_n",         "cpuid_intercepted", "tsc_offset",  "address_bits",  "tsc_khz",
        "tsc_invariant", "seccomp",       "landlock",          "qemu-nbd",    "qemu-img",      "grub-fstest",
        "passt",         "libnbd",        "second_slots",      "resident"}) {
    EXPECT_TRUE(report["host"].contains(key)) << key;
  }
}

}  // namespace
}  // namespace pinfold::cli
