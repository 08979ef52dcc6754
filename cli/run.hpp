// `pinfold run`: one guest, from its image to its end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "cli/trace_options.hpp"
#include "vmm/memory/view.hpp"

namespace pinfold::cli {

/// What a guest's reboot does: the domain starts again, from its image, in the same process; or the program
/// ends.
enum class OnReboot : std::uint8_t { restart, exit };

enum class StatsFormat : std::uint8_t { none, table, json };

struct RunOptions {
  std::filesystem::path kernel;
  std::filesystem::path initrd;  ///< Empty: none.
  std::string command_line;
  std::uint64_t memory_bytes = 512ULL << 20;
  std::uint32_t vcpus = 1;
  std::string name;  ///< In xenstore and for the control socket; empty: "guest-" and the process's number.
  std::optional<std::string> uuid;  ///< nullopt: a random one.
  StatsFormat stats = StatsFormat::none;
  OnReboot on_reboot = OnReboot::restart;
  bool audit = false;
  std::uint64_t audit_interval = 20'000;  ///< MMU hypercalls between two audits.
  bool early_console = false;             ///< Print what the guest writes with console_io.
  TraceOptions trace;
  std::filesystem::path kvm_device = "/dev/kvm";
  std::filesystem::path system_map, vmlinux;  ///< Names for the guest kernel's addresses; empty: none.
  std::string gdb;  ///< Where a debugger may connect (gdb/server.hpp); empty: nowhere.
  /// How the view is write-protected; nullopt: the better of what the host offers. For tests.
  std::optional<vmm::WriteProtection> write_protection;
  bool plain_gate =
      false;  ///< Everything leaves to the monitor, as on hosts without two-dimensional paging. For tests.
};

/// Runs the guest on stdin and stdout; messages and statistics go to stderr. The exit code (exit_codes.hpp).
int run(const RunOptions& options);

}  // namespace pinfold::cli
