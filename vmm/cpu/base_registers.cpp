#include "vmm/cpu/base_registers.hpp"

#include <utility>

#include "pvmmu/types.hpp"

namespace pinfold::vmm {

std::uint64_t BaseRegisters::fs() {
  know_active();
  return fs_;
}

std::uint64_t BaseRegisters::active_gs() {
  know_active();
  return active_gs_;
}

std::uint64_t BaseRegisters::inactive_gs() {
  know_inactive();
  return inactive_gs_;
}

void BaseRegisters::set_fs(std::uint64_t base) {
  know_active();
  fs_ = base;
}

void BaseRegisters::set_active_gs(std::uint64_t base) {
  know_active();
  active_gs_ = base;
}

void BaseRegisters::set_inactive_gs(std::uint64_t base) {
  know_inactive();
  inactive_gs_ = base;
}

void BaseRegisters::set_all(std::uint64_t fs, std::uint64_t active_gs, std::uint64_t inactive_gs) {
  fs_ = fs;
  active_gs_ = active_gs;
  inactive_gs_ = inactive_gs;
  active_known_ = inactive_known_ = true;
}

void BaseRegisters::swap_gs() {
  know_active();
  know_inactive();
  std::swap(active_gs_, inactive_gs_);
}

void BaseRegisters::forget_inactive() {
  inactive_known_ = false;
  inactive_given_.reset();
}

void BaseRegisters::know_active() {
  if (active_known_ || processor_.in_guest()) return;
  fs_ = processor_.fs();
  active_gs_ = processor_.gs();
  active_known_ = true;
}

void BaseRegisters::know_inactive() {
  if (inactive_known_) return;
  const auto base = processor_.inactive_gs();
  if (!base || !is_canonical(*base))
    return end_.end(Ending::host_failure, "KVM does not tell the inactive GS base");
  inactive_gs_ = *base;
  inactive_given_ = *base;
  inactive_known_ = true;
}

void BaseRegisters::give_inactive() {
  if (!inactive_known_ || inactive_given_ == inactive_gs_) return;
  if (const auto refused = processor_.set_inactive_gs(inactive_gs_))
    end_.end(Ending::host_failure, "KVM does not take the inactive GS base: " + *refused);
  inactive_given_ = inactive_gs_;
}

}  // namespace pinfold::vmm
