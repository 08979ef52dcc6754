#include "cli/config/guest_config.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include "cli/control/runtime_dir.hpp"
#include "loader/domain_builder.hpp"
#include "vmm/domain.hpp"

namespace pinfold::cli {
namespace {

constexpr std::uint64_t least_memory = 1ULL << 20, most_memory = 64ULL << 30;

const char* flag_of(ConfigField field) {
  switch (field) {
    case ConfigField::command_line: return "--append";
    case ConfigField::memory: return "--memory";
    case ConfigField::vcpus: return "--vcpus";
    case ConfigField::name: return "--name";
    case ConfigField::uuid: return "--uuid";
  }
  return "";
}

}  // namespace

std::string in_terms_of_flags(const ConfigError& error) {
  return fmt::format("{}: {}", flag_of(error.field), error.message);
}

std::optional<ConfigError> error_in(const GuestConfig& config) {
  if (config.memory_bytes % page_size != 0 || config.memory_bytes < least_memory ||
      config.memory_bytes > most_memory)
    return ConfigError{ConfigField::memory, "between 1M and 64G, in whole pages"};
  if (config.vcpus == 0 || config.vcpus > vmm::max_vcpus)
    return ConfigError{ConfigField::vcpus, fmt::format("between 1 and {}", vmm::max_vcpus)};
  if (config.uuid && !vmm::Uuid::parse(*config.uuid))
    return ConfigError{ConfigField::uuid, "32 hexadecimal digits as 8-4-4-4-12, not all of them 0"};
  if (config.command_line.size() > loader::max_command_line)
    return ConfigError{ConfigField::command_line,
                       fmt::format("the command line has {} bytes; a guest takes at most {}",
                                   config.command_line.size(), loader::max_command_line)};
  if (!config.name.empty() && !is_guest_name(config.name))
    return ConfigError{ConfigField::name, "1 to 64 of A-Z a-z 0-9 . _ -, not a dot first"};
  return std::nullopt;
}

tl::expected<GuestConfig, ConfigError> completed(GuestConfig config) {
  if (auto error = error_in(config)) return tl::unexpected(std::move(*error));
  if (config.name.empty()) config.name = fmt::format("guest-{}", ::getpid());
  if (!config.uuid) {
    const auto random = vmm::Uuid::random();
    if (!random)
      return tl::unexpected(
          ConfigError{ConfigField::uuid, "needed, since this host gives no random numbers"});
    config.uuid = random->text();
  }
  return config;
}

}  // namespace pinfold::cli
