// A vCPU's registers as GDB numbers and packs them, and the description that tells it so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "vmm/kvm/abi.hpp"
#include "vmm/registers.hpp"

namespace pinfold::cli::gdb {

struct CpuRegisters {
  vmm::Registers general;
  std::uint16_t cs = 0, ss = 0, ds = 0, es = 0, fs = 0, gs = 0;
  std::uint64_t fs_base = 0, gs_base = 0;
  kvm_fpu fpu{};
};

/// The target description (GDB manual, appendix G): org.gnu.gdb.i386.core, .sse and .segments.
[[nodiscard]] const std::string& target_description();

/// All registers in the description's order, little-endian: the "g" packet's content before it is written in
/// digits.
[[nodiscard]] std::string pack(const CpuRegisters& registers);
/// Puts packed registers back; false, and nothing changed, if the size is wrong. Segment selectors stay as
/// they are: they are the monitor's.
[[nodiscard]] bool unpack(CpuRegisters& registers, std::string_view packed);

/// Where a register is among the packed ones.
struct Slice {
  std::size_t offset, size;
};
[[nodiscard]] std::optional<Slice> slice_of(std::uint64_t number);

}  // namespace pinfold::cli::gdb
