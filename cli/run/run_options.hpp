// What `run` and `create` are told.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli/config/guest_config.hpp"
#include "cli/console/options.hpp"
#include "cli/run/host_options.hpp"
#include "cli/trace_options.hpp"
#include "sandbox/policy.hpp"

namespace pinfold::cli {

enum class StatsFormat : std::uint8_t { none, table, json };

/// How a guest is watched while it runs, and what is printed about it. Nothing of it is the guest's.
struct WatchOptions {
  StatsFormat stats = StatsFormat::none;
  bool audit = false;
  std::uint64_t audit_interval = 20'000;  ///< MMU hypercalls between two audits.
  TraceOptions trace;
  std::filesystem::path system_map, vmlinux;  ///< Names for the guest kernel's addresses; empty: none.
  std::string gdb;  ///< Where a debugger may connect (gdb/server.hpp); empty: nowhere.
};

/// How the monitor is confined.
struct SandboxOptions {
  sandbox::Mode mode = sandbox::Mode::on;
  std::optional<sandbox::User> user;
};

struct RunOptions {
  GuestConfig guest;
  WatchOptions watch;
  HostOptions host;
  ConsoleOptions console;
  SandboxOptions sandbox;
  bool paused = false;  ///< The guest starts paused, in each life.
};

/// The guests of one machine, at least one; they differ in `guest` alone.
using MachineOptions = std::vector<RunOptions>;

/// Each has its own memory, vCPUs and devices in one process.
inline constexpr std::size_t most_guests_of_a_machine = 16;

}  // namespace pinfold::cli
