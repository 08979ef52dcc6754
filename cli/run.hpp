// `pinfold run`: one guest, from its image to its end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "vmm/memory/view.hpp"

namespace pinfold::cli {

enum class StatsFormat : std::uint8_t { none, table, json };

struct RunOptions {
  std::filesystem::path kernel;
  std::filesystem::path initrd;  ///< Empty: none.
  std::string command_line;
  std::uint64_t memory_bytes = 512ULL << 20;
  std::uint32_t vcpus = 1;
  std::string name = "guest";
  StatsFormat stats = StatsFormat::none;
  bool audit = false;
  std::uint64_t audit_interval = 20'000;  ///< MMU hypercalls between two audits.
  bool early_console = false;             ///< Print what the guest writes with console_io.
  std::filesystem::path kvm_device = "/dev/kvm";
  /// How the view is write-protected; nullopt: the better of what the host offers. For tests.
  std::optional<vmm::WriteProtection> write_protection;
  bool plain_gate =
      false;  ///< Everything leaves to the monitor, as on hosts without two-dimensional paging. For tests.
};

/// Runs the guest on stdin and stdout; messages and statistics go to stderr. The exit code (exit_codes.hpp).
int run(const RunOptions& options);

}  // namespace pinfold::cli
