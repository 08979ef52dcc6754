// Options that are given once, and of which each guest of a machine has its own.
#include "cli/options_of_each.hpp"

#include <gtest/gtest.h>

namespace pinfold::cli::test {
namespace {

MachineOptions machine_of(const std::vector<std::string>& names) {
  MachineOptions machine;
  for (const std::string& name : names) machine.emplace_back().guest.name = name;
  return machine;
}

std::string error_of(MachineOptions machine, const std::vector<std::string>& words) {
  const auto given = give_debuggers(machine, words);
  return given ? "" : given.error();
}

TEST(OptionsOfEach, one_guest_needs_no_name_for_its_debugger) {
  auto alone = machine_of({"web"});
  ASSERT_TRUE(give_debuggers(alone, {"unix:/run/a=tcp"}));
  EXPECT_EQ(alone[0].watch.gdb, "unix:/run/a=tcp");
  EXPECT_TRUE(alone[0].host.plain_gate);
  EXPECT_EQ(error_of(machine_of({"web"}), {"web=tcp:127.0.0.1:1"}), "");
}

TEST(OptionsOfEach, a_debugger_is_its_guests_alone_and_the_gate_is_all_guests) {
  auto machine = machine_of({"web", "db", "c"});
  ASSERT_TRUE(give_debuggers(machine, {"db=unix:b", "c=tcp:127.0.0.1:1234"}));
  EXPECT_EQ(machine[0].watch.gdb, "");
  EXPECT_EQ(machine[1].watch.gdb, "unix:b");
  EXPECT_EQ(machine[2].watch.gdb, "tcp:127.0.0.1:1234");
  for (const RunOptions& options : machine) EXPECT_TRUE(options.host.plain_gate);
  auto without = machine_of({"web", "db"});
  ASSERT_TRUE(give_debuggers(without, {}));
  EXPECT_FALSE(without[0].host.plain_gate);
}

TEST(OptionsOfEach, a_debugger_of_no_guest_or_of_two_or_a_second_one_is_an_error) {
  const auto machine = machine_of({"web", "db"});
  EXPECT_EQ(error_of(machine, {"unix:a"}), "--gdb unix:a: of which guest? NAME=unix:a is meant");
  EXPECT_EQ(error_of(machine, {"mail=unix:a"}), "--gdb mail=unix:a: there is no guest mail");
  EXPECT_EQ(error_of(machine, {"web=unix:a", "web=unix:b"}), "--gdb web=unix:b: one debugger a guest");
}

TEST(OptionsOfEach, files_of_several_guests_have_their_names) {
  auto machine = machine_of({"web", "db"});
  EXPECT_EQ(option_with_one_file(machine), nullptr);
  machine[0].console.log = machine[1].console.log = "/var/log/all.log";
  EXPECT_STREQ(option_with_one_file(machine), "--console-log");
  machine[0].console.log = machine[1].console.log = "/var/%n/%n.log";
  machine[0].watch.trace.to = machine[1].watch.trace.to = "mmu.log";
  EXPECT_EQ(option_with_one_file(machine), nullptr) << "the log of MMU events is the machine's";
  for (RunOptions& options : machine) name_files(options);
  EXPECT_EQ(machine[0].console.log, "/var/web/web.log");
  EXPECT_EQ(machine[1].console.log, "/var/db/db.log");
  EXPECT_EQ(machine[1].watch.trace.to, "mmu.log");
}

}  // namespace
}  // namespace pinfold::cli::test
