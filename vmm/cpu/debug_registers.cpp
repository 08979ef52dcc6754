#include "vmm/cpu/debug_registers.hpp"

#include "pvmmu/types.hpp"

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t type_of(std::uint64_t control, unsigned n) { return control >> (16 + 4 * n) & 3; }
constexpr std::uint64_t enables_of(unsigned n) { return std::uint64_t{3} << (2 * n); }
constexpr std::uint64_t type_ports = 2;

/// In bytes. The field's values 0, 1, 3 and 2 are lengths 1, 2, 4 and 8.
constexpr std::uint64_t length_of(std::uint64_t control, unsigned n) {
  constexpr std::array<std::uint64_t, 4> lengths{1, 2, 8, 4};
  return lengths[control >> (18 + 4 * n) & 3];
}

}  // namespace

std::uint64_t DebugRegisters::get(unsigned n) const {
  if (n < address_.size()) return address_[n];
  return n == 6 ? dr6_ : dr7_;
}

Status DebugRegisters::set(unsigned n, std::uint64_t value, bool debugging_extensions) {
  if (n < address_.size()) {
    if (!is_canonical(value) || in_xen_range(value)) return fail(Errno::eperm);
    address_[n] = value;
    changed_ = true;
    return {};
  }
  if (n != 6 && n != 7) return fail(Errno::enodev);
  if (value >> 32 != 0) return fail(Errno::einval);
  if (n == 7) return set_control(value, debugging_extensions);
  dr6_ = (value & dr6::causes) | dr6::initial;
  return {};
}

Status DebugRegisters::set_control(std::uint64_t value, bool debugging_extensions) {
  if ((value & dr7::general_detect) != 0) return fail(Errno::eperm);
  std::uint64_t on_ports = 0;
  for (unsigned n = 0; n < address_.size() && (value & dr7::enables) != 0; ++n) {
    if (type_of(value, n) != type_ports) continue;
    if (!debugging_extensions) return fail(Errno::eperm);
    on_ports |= value & enables_of(n);
  }
  dr7_ = (value & ~dr7::cleared) | dr7::initial;
  on_ports_ = on_ports;
  changed_ = true;
  return {};
}

void DebugRegisters::note(std::uint64_t causes) {
  dr6_ = (dr6_ & ~dr6::breakpoints) | (causes & dr6::causes);
}

std::uint64_t DebugRegisters::ports_hit(std::uint16_t port, unsigned size, bool debugging_extensions) const {
  if (on_ports_ == 0 || !debugging_extensions) return 0;
  std::uint64_t hit = 0;
  for (unsigned n = 0; n < address_.size(); ++n) {
    const std::uint64_t length = length_of(dr7_, n);
    const std::uint64_t first = address_[n] & ~(length - 1);
    const bool meets = first < std::uint64_t{port} + size && port < first + length;
    if ((on_ports_ & enables_of(n)) != 0 && meets) hit |= std::uint64_t{1} << n;
  }
  return hit;
}

DebugRegisters::Loaded DebugRegisters::to_load() const {
  if (!watches()) return {};
  return {address_, dr7_ & ~on_ports_};
}

}  // namespace pinfold::vmm
