#include "cli/config/guest_config.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "cli/config/mac.hpp"
#include "cli/control/runtime_dir.hpp"
#include "loader/domain_builder.hpp"
#include "vmm/domain.hpp"

namespace pinfold::cli {
namespace {

/// An address that the guest's other interfaces don't have.
std::string free_address(const GuestConfig& config, const vmm::Uuid& uuid, std::size_t index) {
  for (unsigned attempt = 0;; ++attempt) {
    std::string mac = mac_of(uuid, index, attempt);
    const auto has_it = [&mac](const VifConfig& vif) { return vif.mac == mac; };
    if (std::none_of(config.vifs.begin(), config.vifs.end(), has_it)) return mac;
  }
}

/// Two interfaces with one address, if there are.
std::optional<ConfigError> same_address(const std::vector<VifConfig>& vifs) {
  std::map<std::string, std::size_t> owners;
  for (std::size_t i = 0; i < vifs.size(); ++i) {
    if (vifs[i].mac.empty()) continue;
    const auto [owner, is_new] = owners.emplace(vifs[i].mac, i);
    if (!is_new)
      return ConfigError{ConfigField::vifs, fmt::format("interfaces {} and {} both have the address {}",
                                                        owner->second, i, vifs[i].mac)};
  }
  return std::nullopt;
}

}  // namespace

const char* flag_of(ConfigField field) {
  switch (field) {
    case ConfigField::command_line: return "--append";
    case ConfigField::memory: return "--memory";
    case ConfigField::max_memory: return "--maxmem";
    case ConfigField::vcpus: return "--vcpus";
    case ConfigField::max_vcpus: return "--maxvcpus";
    case ConfigField::cpus: return "--cpus";
    case ConfigField::name: return "--name";
    case ConfigField::uuid: return "--uuid";
    case ConfigField::vifs: return "--vif";
  }
  return "";
}

const char* key_of(ConfigField field) {
  switch (field) {
    case ConfigField::command_line: return "cmdline";
    case ConfigField::memory: return "memory";
    case ConfigField::max_memory: return "maxmem";
    case ConfigField::vcpus: return "vcpus";
    case ConfigField::max_vcpus: return "maxvcpus";
    case ConfigField::cpus: return "cpus";
    case ConfigField::name: return "name";
    case ConfigField::uuid: return "uuid";
    case ConfigField::vifs: return "vif";
  }
  return "";
}

std::string in_terms_of_flags(const ConfigError& error) {
  return fmt::format("{}: {}", flag_of(error.field), error.message);
}

std::optional<ConfigError> error_in(const GuestConfig& config) {
  if (config.memory_bytes % page_size != 0 || config.memory_bytes < least_guest_memory ||
      config.memory_bytes > most_guest_memory)
    return ConfigError{ConfigField::memory, "between 1M and 64G, in whole pages"};
  if (config.max_memory_bytes != 0 &&
      (config.max_memory_bytes % page_size != 0 || config.max_memory_bytes < config.memory_bytes ||
       config.max_memory_bytes > most_guest_memory))
    return ConfigError{ConfigField::max_memory,
                       "at least the memory at start and at most 64G, in whole pages"};
  if (config.vcpus == 0 || config.vcpus > vmm::max_vcpus)
    return ConfigError{ConfigField::vcpus, fmt::format("between 1 and {}", vmm::max_vcpus)};
  if (config.max_vcpus != 0 && (config.max_vcpus < config.vcpus || config.max_vcpus > vmm::max_vcpus))
    return ConfigError{ConfigField::max_vcpus,
                       fmt::format("at least the vCPUs at start and at most {}", vmm::max_vcpus)};
  if (auto error = error_in(config.cpus)) return ConfigError{ConfigField::cpus, std::move(*error)};
  if (config.uuid && !vmm::Uuid::parse(*config.uuid))
    return ConfigError{ConfigField::uuid, "32 hexadecimal digits as 8-4-4-4-12, not all of them 0"};
  if (config.command_line.size() > loader::max_command_line)
    return ConfigError{ConfigField::command_line,
                       fmt::format("the command line has {} bytes; a guest takes at most {}",
                                   config.command_line.size(), loader::max_command_line)};
  if (!config.name.empty() && !is_guest_name(config.name))
    return ConfigError{ConfigField::name, "1 to 64 of A-Z a-z 0-9 . _ -, not a dot first"};
  return same_address(config.vifs);
}

void give_addresses(GuestConfig& config) {
  const auto uuid = vmm::Uuid::parse(config.uuid.value_or(""));
  if (!uuid) return;
  for (std::size_t i = 0; i < config.vifs.size(); ++i)
    if (config.vifs[i].mac.empty()) config.vifs[i].mac = free_address(config, *uuid, i);
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
  give_addresses(config);
  return config;
}

}  // namespace pinfold::cli
