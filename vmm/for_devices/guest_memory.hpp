// How everything outside the monitor's own memory module reads and writes a guest's memory: by value, once.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <type_traits>

#include "pvmmu/errno.hpp"
#include "pvmmu/types.hpp"

namespace pinfold::vmm {

/// Can the guest map this address? A list must begin at such an address even if none of it is read. Each
/// access checks whether the address is mapped.
[[nodiscard]] constexpr bool is_guests(GuestVaddr va) {
  return is_canonical(va.raw()) && !in_xen_range(va.raw());
}

/// Guest-virtual memory, as the current address space of one vCPU maps it.
///
/// Every access is a copy: what was checked can't change under the caller. An address that is unmapped, not
/// canonical, in the Xen range or (for writes) mapped read-only gives EFAULT, as Xen's copy_from_guest and
/// copy_to_guest do; the bytes before the fault may have been copied. A write sets the accessed and dirty
/// bits of the entries it goes through. Needs the domain's lock to be held, as every hypercall handler's
/// caller does.
class GuestMemory {
 public:
  virtual ~GuestMemory() = default;
  [[nodiscard]] virtual Status read(GuestVaddr from, std::span<std::byte> to) = 0;
  [[nodiscard]] virtual Status write(GuestVaddr to, std::span<const std::byte> from) = 0;

  /// Fetches a whole structure of the ABI.
  template <class T>
  [[nodiscard]] tl::expected<T, Errno> fetch(GuestVaddr from) {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    if (auto done = read(from, std::as_writable_bytes(std::span(&value, 1))); !done)
      return fail(done.error());
    return value;
  }

  template <class T>
  [[nodiscard]] Status store(GuestVaddr to, const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return write(to, std::as_bytes(std::span(&value, 1)));
  }
};

}  // namespace pinfold::vmm
