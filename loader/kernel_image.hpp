// A PV kernel, unpacked and understood, before any domain exists.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "loader/buffer.hpp"
#include "loader/elf_image.hpp"
#include "loader/kernel_file.hpp"
#include "loader/load_error.hpp"
#include "loader/xen_notes.hpp"
#include "pvmmu/types.hpp"

namespace pinfold::loader {

/// Where the image goes, after the notes' defaults and offsets. All addresses are guest-virtual bytes;
/// virt_base <= start <= entry < end.
struct KernelAddresses {
  GuestVaddr virt_base;  // where pseudo-physical 0 is mapped; page aligned
  GuestVaddr start;      // first byte of the first segment
  GuestVaddr end;        // past the last byte of the last segment, bss included
  GuestVaddr entry;
  std::optional<GuestVaddr> hypercall_page;  // page aligned, a whole page inside the image
  std::optional<GuestVaddr> init_p2m;        // page aligned, below virt_base

  /// Pseudo-physical byte address of an address of the image.
  [[nodiscard]] std::uint64_t physical(GuestVaddr va) const { return va.raw() - virt_base.raw(); }
};

/// A kernel that passed all checks. Segments point into `bytes`, or, if that is empty, into the bytes that
/// were given to parse_kernel, which must then outlive this.
struct KernelImage {
  std::vector<Segment> segments;  // by paddr; pseudo-physical address = paddr - paddr_offset
  std::uint64_t paddr_offset = 0;
  XenNotes notes;
  KernelAddresses addresses;
  Buffer bytes;
};

/// Errors start with the file's path, and say what is wrong with it.
[[nodiscard]] Loaded<KernelImage> parse_kernel(KernelFile file);

/// The same for a file in memory, which is unpacked here: a bzImage, an ELF file or a compressed ELF file.
/// Never throws on bad input and never reads past it.
[[nodiscard]] Loaded<KernelImage> parse_kernel(std::span<const std::byte> file,
                                               const Progress& progress = {});

}  // namespace pinfold::loader
