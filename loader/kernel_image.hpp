// A PV kernel, unpacked and understood, before any domain exists.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "loader/buffer.hpp"
#include "loader/elf_image.hpp"
#include "loader/load_error.hpp"
#include "loader/unpack_cache.hpp"
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

/// A kernel that passed all checks. Segments point into `unpacked`, or, if that is empty, into the bytes that
/// were given to parse_kernel, which must then outlive this.
struct KernelImage {
  std::vector<Segment> segments;  // by paddr; pseudo-physical address = paddr - paddr_offset
  std::uint64_t paddr_offset = 0;
  XenNotes notes;
  KernelAddresses addresses;
  Buffer unpacked;
};

/// Takes a bzImage, an ELF file or a compressed ELF file. Never throws on bad input and never reads past it.
/// Errors are LoadErrors that say what is wrong with the image. What is slow to unpack goes through `cache`.
[[nodiscard]] Loaded<KernelImage> parse_kernel(std::span<const std::byte> file, const Progress& progress = {},
                                               const UnpackCache& cache = {});

/// Reads the file (once, at most 1 GiB) and parses it. Errors start with the path.
[[nodiscard]] Loaded<KernelImage> load_kernel(const std::filesystem::path& path,
                                              const Progress& progress = {}, const UnpackCache& cache = {});

}  // namespace pinfold::loader
