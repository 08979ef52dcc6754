// The I/O ports of a guest without devices: enough of the PC's timer and clock that probing kernels go on.
#pragma once

#include <cstdint>
#include <ctime>
#include <functional>

#include "pvmmu/types.hpp"
#include "vmm/for_devices/guest_memory.hpp"

namespace pinfold::vmm {

/// May this guest mode use I/O instructions without asking the bitmap? Its virtual privilege level, 3 in user
/// mode, must not be above the virtual I/O privilege level (0 to 3). The kernel's is 1, or 0 with
/// VMASST_TYPE_architectural_iopl.
[[nodiscard]] constexpr bool io_privileged(unsigned viopl, bool kernel_mode, bool architectural_iopl) {
  const unsigned vcpl = kernel_mode ? (architectural_iopl ? 0U : 1U) : 3U;
  return viopl >= vcpl;
}

/// Does the guest's I/O bitmap (PHYSDEVOP_set_iobitmap, xen/physdev.h: a clear bit allows; `ports` bits at
/// `bitmap`) allow all of [port, port + size)? A bitmap that can't be read allows nothing. `memory` is the
/// guest kernel's.
[[nodiscard]] bool bitmap_allows(GuestMemory& memory, GuestVaddr bitmap, std::uint32_t ports,
                                 std::uint16_t port, unsigned size);

/// The ports themselves; one per domain, used under the domain's lock. Access control is the caller's.
class IoPorts {
 public:
  /// `clock` tells the wall-clock time that the RTC shows, in seconds since 1970 UTC.
  explicit IoPorts(std::function<std::time_t()> clock = [] { return std::time(nullptr); });

  /// size: 1, 2 or 4 bytes. A port with nothing behind it reads as ones. Bytes past port 0xffff read as ones
  /// too.
  [[nodiscard]] std::uint32_t in(std::uint16_t port, unsigned size);
  /// Ignored by a port with nothing behind it.
  void out(std::uint16_t port, unsigned size, std::uint32_t value);

 private:
  [[nodiscard]] std::uint8_t in_byte(std::uint32_t port) const;
  void out_byte(std::uint32_t port, std::uint8_t value);
  [[nodiscard]] std::uint8_t rtc_register(std::uint8_t index) const;

  std::function<std::time_t()> clock_;
  std::uint8_t rtc_index_ = 0;
  std::uint8_t system_control_ = 0;
};

}  // namespace pinfold::vmm
