// userfaultfd write-protection, as far as the probe needs it.
#pragma once

#include <cstddef>
#include <optional>

#include "vmm/kvm/fd.hpp"

namespace pinfold::vmm {

/// A userfaultfd in SIGBUS mode over one mapping of shared memory: nobody waits for faults, a forbidden write
/// just fails (userfaultfd(2), UFFD_FEATURE_SIGBUS).
class ProbeUserfault {
 public:
  /// Empty where the kernel or this user's rights do not allow it. `begin` and `size`: page-aligned, mapped,
  /// shared.
  [[nodiscard]] static std::optional<ProbeUserfault> watch(std::byte* begin, std::size_t size,
                                                           bool user_mode_only);
  [[nodiscard]] bool protect(std::byte* page, bool read_only) const;

 private:
  explicit ProbeUserfault(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace pinfold::vmm
