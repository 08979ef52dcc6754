#include "loader/kernel_image.hpp"

#include "loader/elf_image.hpp"

namespace pinfold::loader {
namespace {

constexpr std::uint64_t page_mask = page_size - 1;

bool page_aligned(std::uint64_t va) { return (va & page_mask) == 0; }

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

/// `bytes` outlive the result.
Loaded<KernelImage> understand(std::span<const std::byte> bytes) {
  KernelImage image;
  auto elf = parse_elf(bytes);
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

}  // namespace

Loaded<KernelImage> parse_kernel(KernelFile file) {
  auto image = understand(file.elf());
  if (!image) return refuse(file.about(image.error().message));
  image->bytes = file.take_bytes();
  return image;
}

Loaded<KernelImage> parse_kernel(std::span<const std::byte> file, const Progress& progress) {
  if (file.empty()) return refuse("the file is empty");
  auto unpacked = unpack_kernel(file, progress);
  if (!unpacked) return tl::unexpected(unpacked.error());
  if (unpacked->lzo) return refuse(lzo_is_for_others);
  const auto bytes = unpacked->bytes.bytes();
  auto image = understand(bytes.empty() ? file.subspan(unpacked->offset, unpacked->size) : bytes);
  if (image) image->bytes = std::move(unpacked->bytes);
  return image;
}

}  // namespace pinfold::loader
