#include "vmm/for_devices/hypercall.hpp"

#include <cstdlib>

namespace pinfold::vmm {

void HypercallTable::set(std::uint64_t number, const char* name, HypercallHandler handler) {
  if (number >= size || slots_[number].handler) std::abort();
  slots_[number] = Slot{name, std::move(handler)};
}

const HypercallHandler* HypercallTable::find(std::uint64_t number) const {
  return number < size && slots_[number].handler ? &slots_[number].handler : nullptr;
}

const char* HypercallTable::name(std::uint64_t number) const {
  return number < size && slots_[number].name != nullptr ? slots_[number].name : "unknown";
}

}  // namespace pinfold::vmm
