// Guest-virtual memory, reached by walking the guest's own validated tables.
#pragma once

#include "pvmmu/validator.hpp"
#include "vmm/for_devices/guest_memory.hpp"

namespace pinfold::vmm {

/// The address space of a root register, for as long as the domain's lock is held: no table can change under
/// an access. It follows the register: a hypercall that loads another root goes on under that, for the tables
/// of the old one may be plain memory by then.
class GuestAccess final : public GuestMemory {
 public:
  GuestAccess(pvmmu::Validator& mmu, pvmmu::Held held, const Mfn& root)
      : mmu_(mmu), held_(held), root_(root) {}

  [[nodiscard]] Status read(GuestVaddr from, std::span<std::byte> to) override;
  [[nodiscard]] Status write(GuestVaddr to, std::span<const std::byte> from) override;
  /// Copies as many bytes of code as can be executed there; how many, 0 if none.
  [[nodiscard]] std::size_t fetch_code(GuestVaddr from, std::span<std::byte> to);

 private:
  enum class Kind : std::uint8_t { read, write, execute };
  /// The view's rule once more: the monitor's own mapping has no wall, and must not do for a guest what its
  /// view forbids.
  [[nodiscard]] bool permitted(Mfn mfn, Kind kind) const;
  /// Where the byte at `va` is in the monitor; null if the guest itself could not access it so.
  [[nodiscard]] std::byte* locate(GuestVaddr va, Kind kind);

  pvmmu::Validator& mmu_;
  pvmmu::Held held_;
  const Mfn& root_;
};

}  // namespace pinfold::vmm
