// Access to guest-virtual memory, by a walk of the guest's own validated tables.
#pragma once

#include "pvmmu/validator.hpp"
#include "vmm/for_devices/guest_memory.hpp"

namespace pinfold::vmm {

/// The address space of a root register, while the domain's lock is held: no table can change during an
/// access. It follows the register. When a hypercall loads another root, later accesses use that one, because
/// the old one's tables may be plain memory by then.
class GuestAccess final : public GuestMemory {
 public:
  GuestAccess(pvmmu::Validator& mmu, pvmmu::Held held, const Mfn& root)
      : mmu_(mmu), held_(held), root_(root) {}

  [[nodiscard]] Status read(GuestVaddr from, std::span<std::byte> to) override;
  [[nodiscard]] Status write(GuestVaddr to, std::span<const std::byte> from) override;
  /// Copies the bytes of code at `from` that the guest may execute. Returns their number.
  [[nodiscard]] std::size_t fetch_code(GuestVaddr from, std::span<std::byte> to);

 private:
  enum class Kind : std::uint8_t { read, write, execute };
  /// Does the domain's view permit this access? The monitor's own mapping of guest
  /// memory does not enforce it.
  [[nodiscard]] bool permitted(Mfn mfn, Kind kind) const;
  /// The monitor's address of the byte at `va`; null if the guest itself may not access it in this way.
  [[nodiscard]] std::byte* locate(GuestVaddr va, Kind kind);

  pvmmu::Validator& mmu_;
  pvmmu::Held held_;
  const Mfn& root_;
};

}  // namespace pinfold::vmm
