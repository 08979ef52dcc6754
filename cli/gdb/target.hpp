// What a GDB session needs of the guest that it debugs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/gdb/registers.hpp"

namespace pinfold::cli::gdb {

/// Why the guest stopped.
struct Stop {
  enum class Why : std::uint8_t { interrupted, breakpoint, stepped };
  Why why = Why::interrupted;
  std::uint32_t cpu = 0;
};

enum class Motion : std::uint8_t { stay, run, step };

/// A guest that is stopped as a whole, or runs. Everything but `resume`, `interrupt` and `let_go` is for a
/// stopped one.
class Target {
 public:
  virtual ~Target() = default;
  [[nodiscard]] virtual std::uint32_t cpus() const = 0;
  /// Does the vCPU run guest code at all?
  [[nodiscard]] virtual bool is_up(std::uint32_t cpu) = 0;
  [[nodiscard]] virtual std::string describe(std::uint32_t cpu) = 0;
  [[nodiscard]] virtual CpuRegisters registers(std::uint32_t cpu) = 0;
  virtual void set_registers(std::uint32_t cpu, const CpuRegisters& registers) = 0;
  /// Memory as the vCPU's current mode maps it; how many bytes could be read.
  [[nodiscard]] virtual std::size_t read(std::uint32_t cpu, std::uint64_t from, std::span<std::byte> to) = 0;
  [[nodiscard]] virtual bool write(std::uint32_t cpu, std::uint64_t to, std::span<const std::byte> from) = 0;
  [[nodiscard]] virtual bool insert_breakpoint(std::uint32_t cpu, std::uint64_t at) = 0;
  [[nodiscard]] virtual bool remove_breakpoint(std::uint32_t cpu, std::uint64_t at) = 0;
  /// One motion a vCPU.
  virtual void resume(const std::vector<Motion>& motions) = 0;
  /// Stops everything, and says why: something may have happened just before.
  [[nodiscard]] virtual Stop interrupt() = 0;
  /// Breakpoints go, the guest runs.
  virtual void let_go() = 0;
  /// Ends the guest.
  virtual void kill() = 0;
};

}  // namespace pinfold::cli::gdb
