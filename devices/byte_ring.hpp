// The byte rings of the PV console and of xenstore: a buffer and two free-running indices in a page that the
// guest writes too (xen/io/console.h, xen/io/xs_wire.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "pvmmu/types.hpp"
#include "vmm/for_devices/shared_page.hpp"

namespace pinfold::devices {

/// Where in the page the parts of one ring lie, in bytes. `size` is a power of two.
struct RingLayout {
  std::size_t data = 0;
  std::size_t size = 0;
  std::size_t consumer = 0;
  std::size_t producer = 0;
};

/// The end that takes bytes which the guest puts in. Our index is kept here and only published in the page,
/// so a guest that changes it there confuses only itself. Not thread-safe.
class RingReader {
 public:
  RingReader(vmm::SharedPage page, RingLayout layout);
  /// Takes as many bytes as there are and fit; how many. None while the indices contradict each other.
  [[nodiscard]] std::size_t read(std::span<std::byte> to);
  /// Did the guest ever claim more bytes than the ring holds?
  [[nodiscard]] bool index_fault() const { return fault_; }

 private:
  vmm::SharedPage page_;
  RingLayout layout_;
  std::uint32_t consumer_;
  bool fault_ = false;
};

/// The end that puts in bytes for the guest to take. As RingReader otherwise.
class RingWriter {
 public:
  RingWriter(vmm::SharedPage page, RingLayout layout);
  /// Puts in as many bytes as there is room for; how many.
  [[nodiscard]] std::size_t write(std::span<const std::byte> from);
  [[nodiscard]] bool index_fault() const { return fault_; }

 private:
  vmm::SharedPage page_;
  RingLayout layout_;
  std::uint32_t producer_;
  bool fault_ = false;
};

}  // namespace pinfold::devices
