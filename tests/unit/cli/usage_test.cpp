// Messages about a command line that is not understood.
#include "cli/usage.hpp"

#include <gtest/gtest.h>

#include "cli/command_line.hpp"
#include "cli/exit_codes.hpp"

namespace pinfold::cli::test {
namespace {

/// What `pinfold ARGUMENTS` says on stderr; it must not understand them.
std::string said_of(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "pinfold");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  testing::internal::CaptureStderr();
  const int code = run_command_line(static_cast<int>(argv.size()), argv.data(), "test");
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(code, exit_usage) << said;
  return said;
}

TEST(Usage, an_unknown_command_is_named) {
  EXPECT_EQ(said_of({"fly"}), "pinfold: unknown command: fly\n`pinfold --help` lists the commands.\n");
  EXPECT_EQ(said_of({"--fly"}), "pinfold: unknown option: --fly\n`pinfold --help` lists the commands.\n");
}

TEST(Usage, no_command_is_said_to_be_missing) {
  EXPECT_EQ(said_of({}), "pinfold: a command is missing\n`pinfold --help` lists the commands.\n");
}

TEST(Usage, an_unknown_option_is_named_even_if_a_required_one_is_missing) {
  const std::string expected =
      "pinfold run: unknown option: --kernal\n`pinfold run --help` lists the options.\n";
  EXPECT_EQ(said_of({"run", "--kernal", "x"}), expected);
  EXPECT_EQ(said_of({"run", "--kernel", "x", "--kernal"}), expected);
}

TEST(Usage, a_word_too_many_is_named) {
  EXPECT_EQ(said_of({"create", "guest.cfg", "word"}),
            "pinfold create: not understood: word\n`pinfold create --help` lists the options.\n");
}

TEST(Usage, a_missing_option_is_named_if_all_words_were_understood) {
  EXPECT_EQ(said_of({"run"}),
            "pinfold run: a configuration file, --kernel or --bootloader is required\n"
            "`pinfold run --help` lists the options.\n");
}

TEST(Usage, choices_are_listed_as_people_write_them) {
  EXPECT_EQ(said_of({"run", "--kernel", "x", "--on-reboot", "maybe"}),
            "pinfold run: --on-reboot: destroy, preserve, rename-restart or restart, not maybe\n"
            "`pinfold run --help` lists the options.\n");
  EXPECT_EQ(said_of({"run", "--kernel", "x", "--stats=xml"}),
            "pinfold run: --stats: table or json, not xml\n`pinfold run --help` lists the options.\n");
  EXPECT_EQ(said_of({"run", "--kernel", "x", "--memory", "12Q"}),
            "pinfold run: --memory: a size such as 512M or 4G, not 12Q\n"
            "`pinfold run --help` lists the options.\n");
}

TEST(Usage, three_words_are_a_list) {
  std::string word = "d";
  EXPECT_EQ(one_of({"a", "b", "c"})(word), "a, b or c, not d");
  word = "b";
  EXPECT_EQ(one_of({"a", "b", "c"})(word), "");
}

TEST(Usage, sizes_have_units_of_1024) {
  for (const auto& [text, bytes] : {std::pair("512M", "536870912"), {"4G", "4294967296"}, {"4096", "4096"}}) {
    std::string size = text;
    EXPECT_EQ(size_in_bytes()(size), "");
    EXPECT_EQ(size, bytes);
  }
}

TEST(Usage, memory_without_a_unit_is_in_mebibytes) {
  for (const auto& [text, bytes] :
       {std::pair("512M", "536870912"), {"2G", "2147483648"}, {"32", "33554432"}}) {
    std::string size = text;
    EXPECT_EQ(memory_size()(size), "");
    EXPECT_EQ(size, bytes);
  }
  std::string nonsense = "12Q";
  EXPECT_EQ(memory_size()(nonsense), "a size such as 512M or 4G, not 12Q");
}

}  // namespace
}  // namespace pinfold::cli::test
