// What a kernel says about itself to a Xen loader (xen/elfnote.h), and whether it can be run here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "loader/elf_image.hpp"
#include "loader/load_error.hpp"

namespace pinfold::loader {

/// The notes of a kernel as they stand in the file: nothing here is checked. Addresses are guest-virtual.
struct XenNotes {
  std::optional<std::uint64_t> entry;
  std::optional<std::uint64_t> hypercall_page;
  std::optional<std::uint64_t> virt_base;
  std::optional<std::uint64_t> paddr_offset;
  std::optional<std::uint64_t> init_p2m;
  std::optional<std::uint64_t> hv_start_low;
  std::optional<std::uint64_t> phys32_entry;
  std::optional<std::uint64_t> supported_features;  // bit n: XENFEAT n (xen/features.h)
  std::optional<std::string> xen_version;
  std::optional<std::string> guest_os;
  std::optional<std::string> guest_version;
  std::optional<std::string> loader;
  std::optional<std::string> features;
  std::optional<std::string> pae_mode;
  bool mod_start_pfn = false;
  bool suspend_cancel = false;
  bool bsd_symtab = false;  // noted, not honoured: symbols are not loaded
  /// They came from a `__xen_guest` string instead of ELF notes: some defaults differ.
  bool legacy = false;

  [[nodiscard]] bool empty() const;
};

/// Reads ELF notes; of two with the same type the later counts. A number is 1, 2, 4 or 8 bytes; one of
/// another length is an error, and so is a string without a terminating NUL or with more than 4,095
/// characters.
[[nodiscard]] Loaded<XenNotes> read_notes(const std::vector<XenNote>& notes);

/// Reads the `KEY=value,KEY=value` string of the `__xen_guest` section. Unknown keys are passed over.
[[nodiscard]] Loaded<XenNotes> read_xen_guest(std::string_view text);

/// Is this a PV kernel for this interface? XEN_VERSION must start with "xen-3.0"; LOADER with "generic" or
/// GUEST_OS with "linux"; every feature that FEATURES requires ('!') must be one that a PV guest of this
/// monitor can have. The error names what is missing.
[[nodiscard]] Loaded<void> check_notes(const XenNotes& notes);

}  // namespace pinfold::loader
