// What a vCPU in the gate was at when it left: what its RIP means, and what lies on its stack.

#include "vmm/gate/gate.hpp"
#include "vmm/gate/text.hpp"

namespace pinfold::vmm {

using namespace gate;

namespace {

constexpr std::uint64_t out_length = 2;  // KVM leaves with RIP behind the OUT

/// The address of the OUT at which a vCPU stopped.
std::uint64_t out_at(std::uint64_t rip, AtOut stopped) {
  return rip - (stopped == AtOut::behind ? out_length : 0);
}

bool in_page(std::uint64_t address, std::uint64_t page) {
  return address >= page && address - page < page_size;
}

}  // namespace

std::optional<SyscallEntry> Gate::syscall_entry(GateAddress at, AtOut stopped) {
  const std::uint64_t entry = out_at(at.raw(), stopped);
  if (entry == syscall_text) return SyscallEntry::bits64;
  if (entry == compat_entry) return SyscallEntry::bits32;
  return std::nullopt;
}

bool Gate::is_syscall_entry_at_cpl3(std::uint64_t rip, AtOut stopped) {
  return out_at(rip, stopped) == syscall_text;
}

std::optional<std::uint8_t> Gate::exception_vector(GateAddress at, AtOut stopped) {
  const std::uint64_t offset = out_at(at.raw(), stopped) - kernel_text;
  if (offset >= exceptions * exception_stub_size || offset % exception_stub_size != 0) return std::nullopt;
  return static_cast<std::uint8_t>(offset / exception_stub_size);
}

bool Gate::in_debug_entry(GateAddress at) {
  return at.raw() >= debug_entry && in_page(at.raw(), kernel_text);
}

bool Gate::in_fast_paths(std::uint32_t cpu, GateAddress at) {
  return in_page(at.raw(), page_address(cpu, fast_text_page)) || in_page(at.raw(), resident_text);
}

GateExit Gate::fast_exit(std::uint32_t cpu, GateAddress at) {
  if (!in_page(at.raw(), page_address(cpu, fast_text_page))) return GateExit::none;
  const std::uint64_t offset = at.raw() - page_address(cpu, fast_text_page);
  if (offset >= fast_offset(pinfold_fast_return) &&
      offset <= fast_offset(pinfold_fast_return_out) + out_length)
    return GateExit::returning;
  const auto behind = [offset](const std::byte* out) { return offset == fast_offset(out) + out_length; };
  if (behind(pinfold_fast_syscall_out)) return GateExit::syscall;
  if (behind(pinfold_fast_exception_out)) return GateExit::exception;
  if (behind(pinfold_fast_refused_out)) return GateExit::refused;
  if (behind(pinfold_fast_broken_out)) return GateExit::broken;
  return GateExit::none;
}

bool Gate::in_entry_stub(std::uint32_t cpu, GateAddress at) {
  return in_page(at.raw(), page_address(cpu, entry_stub_page));
}

std::uint64_t Gate::stack_word(std::uint32_t cpu, std::uint64_t address) const {
  for (const std::uint64_t page : {stack_page, own_stacks_page})
    if (address % 8 == 0 && in_page(address, page_address(cpu, page)))
      return arena_.load(areas_.frame(cpu, page), address % page_size / 8);
  return 0;
}

ExceptionFrame Gate::exception_frame(std::uint32_t cpu, std::uint64_t rsp, bool error_code) const {
  // [error code] RIP CS RFLAGS RSP SS (vol. 3, 6.14.2).
  const std::uint64_t at = error_code ? rsp + 8 : rsp;
  const auto word = [&](std::uint64_t i) { return stack_word(cpu, at + 8 * i); };
  return {error_code ? stack_word(cpu, rsp) : 0, word(0), word(1), word(2), word(3), word(4)};
}

std::uint8_t Gate::fast_vector(std::uint32_t cpu, std::uint64_t rsp) const {
  return static_cast<std::uint8_t>(stack_word(cpu, rsp) % exceptions);
}

}  // namespace pinfold::vmm
