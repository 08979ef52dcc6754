// A guest's configuration: what is refused, and in whose name.
#include "cli/config/guest_config.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "loader/domain_builder.hpp"

namespace pinfold::cli::test {
namespace {

ConfigField field_at_fault(const GuestConfig& config) {
  const auto error = error_in(config);
  EXPECT_TRUE(error);
  return error ? error->field : ConfigField{};
}

TEST(GuestConfig, defaults_are_right) { EXPECT_FALSE(error_in(GuestConfig{})); }

TEST(GuestConfig, memory_is_whole_pages_within_bounds) {
  const std::vector<std::uint64_t> refused{0, (1ULL << 20) - page_size, (1ULL << 20) + 1,
                                           (64ULL << 30) + page_size, ~0ULL};
  for (const std::uint64_t bytes : refused) {
    GuestConfig config;
    config.memory_bytes = bytes;
    EXPECT_EQ(field_at_fault(config), ConfigField::memory) << bytes;
  }
  GuestConfig config;
  config.memory_bytes = 1ULL << 20;
  EXPECT_FALSE(error_in(config));
  config.memory_bytes = 64ULL << 30;
  EXPECT_FALSE(error_in(config));
  EXPECT_EQ(config.frames(), 16ULL << 20);
}

TEST(GuestConfig, each_error_names_its_field) {
  GuestConfig config;
  config.vcpus = 0;
  EXPECT_EQ(field_at_fault(config), ConfigField::vcpus);
  config.vcpus = 129;
  EXPECT_EQ(field_at_fault(config), ConfigField::vcpus);
  config.vcpus = 128;
  config.cpus.of_all = "3-1";
  EXPECT_EQ(field_at_fault(config), ConfigField::cpus);
  config.cpus.of_all = "1-3";
  config.uuid = "not a uuid";
  EXPECT_EQ(field_at_fault(config), ConfigField::uuid);
  config.uuid = "12345678-9abc-def0-1234-56789abcdef0";
  config.command_line = std::string(loader::max_command_line + 1, 'x');
  EXPECT_EQ(field_at_fault(config), ConfigField::command_line);
  config.command_line.pop_back();
  config.name = "../etc";
  EXPECT_EQ(field_at_fault(config), ConfigField::name);
  config.name = "web-1";
  EXPECT_FALSE(error_in(config));
}

TEST(GuestConfig, the_command_lines_words_are_its_flags) {
  EXPECT_EQ(in_terms_of_flags({ConfigField::command_line, "too long"}), "--append: too long");
  EXPECT_EQ(in_terms_of_flags({ConfigField::memory, "x"}), "--memory: x");
  EXPECT_EQ(in_terms_of_flags({ConfigField::vcpus, "x"}), "--vcpus: x");
  EXPECT_EQ(in_terms_of_flags({ConfigField::name, "x"}), "--name: x");
  EXPECT_EQ(in_terms_of_flags({ConfigField::uuid, "x"}), "--uuid: x");
}

TEST(GuestConfig, a_completed_one_has_a_name_and_a_uuid_and_keeps_what_was_given) {
  const auto made = completed(GuestConfig{}).value();
  EXPECT_EQ(made.name.substr(0, 6), "guest-");
  EXPECT_TRUE(vmm::Uuid::parse(made.uuid.value()));
  EXPECT_FALSE(error_in(made));
  EXPECT_NE(completed(GuestConfig{})->uuid, made.uuid);
  const auto again = completed(made).value();
  EXPECT_EQ(again.name, made.name);
  EXPECT_EQ(again.uuid, made.uuid);
  GuestConfig bad;
  bad.vcpus = 0;
  EXPECT_FALSE(completed(bad));
}

}  // namespace
}  // namespace pinfold::cli::test
