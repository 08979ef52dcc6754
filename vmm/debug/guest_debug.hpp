// A debugger's access to a stopped guest: its memory, whatever the guest's own permissions are, and
// breakpoints.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include "pvmmu/validator.hpp"

namespace pinfold::vmm {

/// Guest memory for a debugger. Reading follows the guest's own tables, and so does writing, whether or not
/// an entry has RW; no accessed or dirty bit is set. Never written: frames that are page tables or
/// descriptor pages (their contents are checked, and have mirrors), and frames that are not the domain's.
///
/// A breakpoint is an INT3 byte in a frame, so it shows in every mapping of the frame. Reading returns the
/// bytes that the breakpoints replaced.
class GuestDebug {
 public:
  explicit GuestDebug(pvmmu::Validator& mmu) : mmu_(mmu) {}

  /// How many bytes from `from` on could be read.
  [[nodiscard]] std::size_t read(pvmmu::Held held, Mfn root, GuestVaddr from, std::span<std::byte> to) const;
  /// False: some byte can't be written, and none was.
  [[nodiscard]] bool write(pvmmu::Held held, Mfn root, GuestVaddr to, std::span<const std::byte> from);

  static constexpr std::size_t most_breakpoints = 1024;
  /// False: nothing is mapped there, or the frame must not be written, or there are too many.
  [[nodiscard]] bool insert(pvmmu::Held held, Mfn root, GuestVaddr at);
  /// False: there is no breakpoint at this address. A breakpoint keeps the address that it was set at, also
  /// when that address translates to another frame now, or to none.
  bool remove(pvmmu::Held held, Mfn root, GuestVaddr at);
  void remove_all(pvmmu::Held held);
  [[nodiscard]] bool is_breakpoint(pvmmu::Held held, Mfn root, GuestVaddr at) const;

 private:
  using Place = std::pair<Mfn, std::size_t>;  ///< Frame, and byte in it.
  [[nodiscard]] std::optional<Place> locate(pvmmu::Held held, Mfn root, GuestVaddr va) const;
  [[nodiscard]] bool may_be_written(Mfn frame) const;
  [[nodiscard]] std::byte& at(const Place& place) const;
  struct Breakpoint {
    std::byte original;  ///< What is behind it.
    GuestVaddr set_at;
  };
  using Breakpoints = std::map<Place, Breakpoint>;
  void take_out(Breakpoints::const_iterator breakpoint) const;

  pvmmu::Validator& mmu_;
  Breakpoints breakpoints_;
};

}  // namespace pinfold::vmm
