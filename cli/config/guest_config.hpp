// What a guest is made from.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/config/cpu_list.hpp"
#include "cli/config/disk_config.hpp"
#include "cli/config/end_action.hpp"
#include "cli/config/vif_config.hpp"
#include "pvmmu/types.hpp"
#include "vmm/uuid.hpp"

namespace pinfold::cli {

inline constexpr std::uint64_t least_guest_memory = 1ULL << 20, most_guest_memory = 64ULL << 30;
/// As many as anybody needs, and few enough to be checked in no time.
inline constexpr std::size_t most_disks = 1024, most_vifs = 256;
inline constexpr std::uint32_t most_grant_frames = 1024, most_maptrack_frames = 4096;

/// A guest's configuration, as the user gave it, whatever the source: a value, without open files. The
/// command line or a file fills it in (load_config.hpp).
struct GuestConfig {
  std::filesystem::path kernel;
  std::filesystem::path initrd;  ///< Empty: none.
  std::string command_line = "console=hvc0";
  std::string bootloader;  ///< A program that finds kernel and initrd on a disk; empty: none.
  std::vector<std::string> bootloader_args;   ///< Of `bootloader`.
  std::uint64_t memory_bytes = 512ULL << 20;  ///< At start; the balloon changes it.
  std::uint64_t max_memory_bytes = 0;         ///< Never more than this; 0: as at start.
  std::uint32_t vcpus = 1;                    ///< At start; the others are offline.
  std::uint32_t max_vcpus = 0;                ///< 0: as at start.
  CpuLists cpus;                              ///< Of the host, for the vCPUs.
  std::vector<DiskConfig> disks;
  std::vector<std::string> allowed_images;  ///< Files on which images may be based, wherever they are.
  std::vector<VifConfig> vifs;
  bool localtime = false;  ///< The guest's clock starts with the host's local time instead of UTC.
  std::int64_t rtc_offset_seconds = 0;  ///< Added to the guest's clock, as rtc_timeoffset in xl.cfg(5).
  std::string name;                     ///< Empty: "guest-" and the process's number.
  std::optional<std::string> uuid;      ///< As text; nullopt: a random one.
  /// What happens when the guest powers itself off, reboots, crashes, or its watchdog fires.
  EndAction on_poweroff = EndAction::destroy;
  EndAction on_reboot = EndAction::restart;
  EndAction on_crash = EndAction::destroy;
  EndAction on_watchdog = EndAction::destroy;
  std::uint32_t max_grant_frames = 64;       ///< Of its grant table.
  std::uint32_t max_maptrack_frames = 1024;  ///< For the grants that it maps, 256 a frame.
  bool driver_domain = false;                ///< It serves devices to other guests of its machine.
  bool early_console = false;                ///< Print what the guest writes with console_io.
  bool quirks = true;  ///< The command line gets what the kernel needs to boot on this host (run/quirks.hpp).

  /// The memory at start, and the most, in frames.
  [[nodiscard]] std::uint64_t frames() const { return memory_bytes / page_size; }
  [[nodiscard]] std::uint64_t max_frames() const {
    return std::max(memory_bytes, max_memory_bytes) / page_size;
  }
  /// All vCPUs, those that are offline at start included.
  [[nodiscard]] std::uint32_t all_vcpus() const { return std::max(vcpus, max_vcpus); }
};

/// A field that an error can be about.
enum class ConfigField : std::uint8_t {
  command_line,
  memory,
  max_memory,
  vcpus,
  max_vcpus,
  cpus,
  name,
  uuid,
  vifs
};

/// What is wrong with a configuration. Each source of configurations has its own word for the field.
struct ConfigError {
  ConfigField field;
  std::string message;  ///< Without the field.
};

/// The field's name on the command line, "--memory", and in xl.cfg(5), "memory".
[[nodiscard]] const char* flag_of(ConfigField field);
[[nodiscard]] const char* key_of(ConfigField field);

/// The same, in one line, with the field as the command line calls it: "--memory: …".
[[nodiscard]] std::string in_terms_of_flags(const ConfigError& error);

/// Checks all that can be wrong with a configuration by itself. What depends on files or on the host is found
/// when the guest is made.
[[nodiscard]] std::optional<ConfigError> error_in(const GuestConfig& config);

/// Gives each interface without an address one that is made of the guest's UUID and the interface's place in
/// the list. Without a UUID it changes nothing.
void give_addresses(GuestConfig& config);

/// Checks the configuration, and then gives it a name, a UUID and its interfaces addresses if it has none.
/// All of them stay the guest's when it restarts.
[[nodiscard]] tl::expected<GuestConfig, ConfigError> completed(GuestConfig config);

}  // namespace pinfold::cli
