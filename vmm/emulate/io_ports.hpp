// The I/O ports of a guest without devices: as much of a PC's timer and clock as kernels need to boot.
#pragma once

#include <cstdint>
#include <ctime>
#include <functional>

#include "pvmmu/types.hpp"
#include "vmm/for_devices/guest_memory.hpp"

namespace pinfold::vmm {

/// May this guest mode use I/O instructions whatever the I/O bitmap says? Its virtual privilege level
/// must not exceed the virtual I/O privilege level (0 to 3). It is 3 in user mode; the kernel's is 1, or
/// 0 with VMASST_TYPE_architectural_iopl.
[[nodiscard]] constexpr bool io_privileged(unsigned viopl, bool kernel_mode, bool architectural_iopl) {
  const unsigned vcpl = kernel_mode ? (architectural_iopl ? 0U : 1U) : 3U;
  return viopl >= vcpl;
}

/// Does the guest's I/O bitmap allow all of [port, port + size)? It has `ports` bits at `bitmap`; a clear
/// bit allows (PHYSDEVOP_set_iobitmap, xen/physdev.h). A bitmap that can't be read allows nothing.
/// `memory`: the guest kernel's.
[[nodiscard]] bool bitmap_allows(GuestMemory& memory, GuestVaddr bitmap, std::uint32_t ports,
                                 std::uint16_t port, unsigned size);

/// A domain's ports, used with the domain's lock held. The caller checks whether the guest may access them.
class IoPorts {
 public:
  /// `clock`: the time that the RTC shows, in seconds since 1970 UTC.
  explicit IoPorts(std::function<std::time_t()> clock = [] { return std::time(nullptr); });

  /// `size`: 1, 2 or 4 bytes. Ports without a device, and bytes past port 0xffff, read as ones.
  [[nodiscard]] std::uint32_t in(std::uint16_t port, unsigned size);
  /// Ports without a device ignore it.
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
