#include "loader/kernel_image.hpp"

#include <cstring>

#include "loader/bzimage.hpp"
#include "loader/unpack.hpp"

namespace pinfold::loader {
namespace {

constexpr std::size_t max_file_bytes = std::size_t{1} << 30;
constexpr std::uint64_t page_mask = page_size - 1;

bool page_aligned(std::uint64_t va) { return (va & page_mask) == 0; }

/// Every payload ends in its unpacked size, modulo 2^32 (Linux, Documentation/x86/boot.rst, payload_length).
/// LZ4's legacy frame has no other way to tell that it is whole.
Loaded<void> check_size_word(std::span<const std::byte> payload, std::size_t unpacked) {
  std::uint32_t said = 0;
  std::memcpy(&said, payload.data() + payload.size() - sizeof said, sizeof said);
  if (said == static_cast<std::uint32_t>(unpacked)) return {};
  return refuse("bzImage is damaged: its payload unpacks to " + std::to_string(unpacked) +
                " bytes instead of " + std::to_string(said));
}

Loaded<Buffer> unpack_once(std::span<const std::byte> packed, const Progress& progress,
                           const UnpackCache& cache) {
  // Unpacking LZ4 takes hardly longer than looking it up: not worth the disk.
  if (packing_of(packed) == Packing::lz4_legacy) return unpack(packed, progress);
  if (auto known = cache.find(packed)) return std::move(*known);
  auto buffer = unpack(packed, progress);
  if (buffer) cache.keep(packed, buffer->bytes());
  return buffer;
}

/// The ELF bytes of whatever the file is; `unpacked` keeps them if they are not the file's own.
Loaded<std::span<const std::byte>> elf_bytes(std::span<const std::byte> file, const Progress& progress,
                                             const UnpackCache& cache, Buffer& unpacked) {
  if (is_elf(file)) return file;
  const bool bz = is_bzimage(file);
  auto packed = file;
  if (bz) {
    auto payload = bzimage_payload(file);
    if (!payload) return payload;
    if (is_elf(*payload)) return payload;
    packed = *payload;
  }
  if (!bz && packing_of(packed) == Packing::none) {
    return refuse("not a kernel: neither a bzImage nor an ELF file");
  }
  auto buffer = unpack_once(packed, progress, cache);
  if (!buffer) return tl::unexpected(buffer.error());
  if (bz) {
    if (auto fine = check_size_word(packed, buffer->bytes().size()); !fine)
      return tl::unexpected(fine.error());
  }
  unpacked = std::move(*buffer);
  return unpacked.bytes();
}

Loaded<XenNotes> notes_of(const ElfImage& elf) {
  if (elf.xen_notes.empty() && !elf.xen_guest.empty()) return read_xen_guest(elf.xen_guest);
  return read_notes(elf.xen_notes);
}

/// The rules by which Xen's tools place an image (xen/elfnote.h: ENTRY, VIRT_BASE, PADDR_OFFSET).
Loaded<KernelAddresses> place(const ElfImage& elf, const XenNotes& notes, std::uint64_t paddr_offset) {
  const std::uint64_t virt_base = notes.virt_base.value_or(0);
  const std::uint64_t paddr_start = elf.segments.front().paddr;
  const std::uint64_t paddr_end = elf.segments.back().paddr + elf.segments.back().memsz;
  if (notes.paddr_offset && !notes.virt_base)
    return refuse("kernel has a PADDR_OFFSET note without VIRT_BASE");
  if (!page_aligned(virt_base)) return refuse("kernel's VIRT_BASE is not page aligned");
  if (paddr_start < paddr_offset) return refuse("kernel's segments begin below its PADDR_OFFSET");
  const std::uint64_t length = paddr_end - paddr_offset;
  if (length - 1 > ~virt_base)
    return refuse("kernel does not fit between its VIRT_BASE and the top of memory");

  KernelAddresses at;
  at.virt_base = GuestVaddr(virt_base);
  at.start = GuestVaddr(virt_base + (paddr_start - paddr_offset));
  at.end = GuestVaddr(virt_base + length);
  at.entry = GuestVaddr(notes.entry.value_or(elf.entry));
  const auto inside = [&](std::uint64_t va) { return va >= at.start.raw() && va - virt_base < length; };
  if (!inside(at.entry.raw())) return refuse("kernel's entry point lies outside its image");
  if (!is_canonical(at.start.raw()) || !is_canonical(at.end.raw() - 1) ||
      (at.start.raw() < xen_range_end && at.end.raw() - 1 >= xen_range_begin)) {
    return refuse("kernel wants addresses that are not a guest's to use");
  }
  if (notes.hypercall_page) {
    const std::uint64_t page = *notes.hypercall_page;
    if (!page_aligned(page)) return refuse("kernel's HYPERCALL_PAGE is not page aligned");
    if (!inside(page) || !inside(page + page_mask))
      return refuse("kernel's HYPERCALL_PAGE lies outside its image");
    at.hypercall_page = GuestVaddr(page);
  }
  // Honoured under these conditions only; otherwise the list lies in the main mapping.
  if (notes.init_p2m && page_aligned(*notes.init_p2m) && *notes.init_p2m < virt_base) {
    at.init_p2m = GuestVaddr(*notes.init_p2m);
  }
  return at;
}

}  // namespace

Loaded<KernelImage> parse_kernel(std::span<const std::byte> file, const Progress& progress,
                                 const UnpackCache& cache) {
  KernelImage image;
  if (file.empty()) return refuse("the file is empty");
  const auto bytes = elf_bytes(file, progress, cache, image.unpacked);
  if (!bytes) return tl::unexpected(bytes.error());
  auto elf = parse_elf(*bytes);
  if (!elf) return tl::unexpected(elf.error());
  auto notes = notes_of(*elf);
  if (!notes) return tl::unexpected(notes.error());
  if (auto fine = check_notes(*notes); !fine) return tl::unexpected(fine.error());

  image.paddr_offset = notes->paddr_offset.value_or(notes->legacy ? notes->virt_base.value_or(0) : 0);
  const auto addresses = place(*elf, *notes, image.paddr_offset);
  if (!addresses) return tl::unexpected(addresses.error());
  image.addresses = *addresses;
  image.notes = std::move(*notes);
  image.segments = std::move(elf->segments);
  return image;
}

Loaded<KernelImage> load_kernel(const std::filesystem::path& path, const Progress& progress,
                                const UnpackCache& cache) {
  const auto in_file = [&](const LoadError& error) {
    return refuse(printable(path.native(), 200) + ": " + error.message);
  };
  report(progress, "reading the kernel", 0);
  auto file = Buffer::read_file(path, max_file_bytes);
  if (!file) return in_file(file.error());
  auto image = parse_kernel(file->bytes(), progress, cache);
  if (!image) return in_file(image.error());
  if (image->unpacked.bytes().empty())
    image->unpacked = std::move(*file);  // the segments point into the file itself
  return image;
}

}  // namespace pinfold::loader
