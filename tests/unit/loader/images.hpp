// Kernels made to measure, for tests: a small ELF writer, a bzImage writer, and every packing.
#pragma once

#include <xen/elfnote.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "loader/kernel_image.hpp"
#include "loader/unpack.hpp"

namespace pinfold::loader::testing {

using Bytes = std::vector<std::byte>;

[[nodiscard]] Bytes bytes_of(std::string_view text);
/// A kernel's file, unpacked in this process.
[[nodiscard]] Loaded<KernelImage> loaded_kernel(const std::filesystem::path& path);
/// `size` bytes that differ from page to page and hardly ever are zero.
[[nodiscard]] Bytes pattern(std::size_t size);

template <class T>
void put(Bytes& bytes, std::size_t at, T value) {
  if (bytes.size() < at + sizeof value) bytes.resize(at + sizeof value);
  std::memcpy(bytes.data() + at, &value, sizeof value);
}
template <class T>
[[nodiscard]] T get(const Bytes& bytes, std::size_t at) {
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

struct SegmentSpec {
  std::uint64_t paddr = 0;
  Bytes content;
  std::uint64_t memsz = 0;  // 0: as long as the content
};

struct NoteSpec {
  std::uint32_t type = 0;
  Bytes desc;
  std::string owner = "Xen";
};
[[nodiscard]] NoteSpec number_note(std::uint32_t type, std::uint64_t value);
[[nodiscard]] NoteSpec string_note(std::uint32_t type, std::string_view value);

enum class NotesIn : std::uint8_t { segment, section };

/// By default a small kernel that passes all checks: one page of code and a page of bss at 16 MiB.
struct ElfSpec {
  std::uint64_t virt_base = 0xffffffff80000000;
  std::uint64_t entry = virt_base + 0x1000000;
  std::vector<SegmentSpec> segments{{0x1000000, pattern(0x1000), 0x2000}};
  std::vector<NoteSpec> notes{
      string_note(XEN_ELFNOTE_XEN_VERSION, "xen-3.0"), string_note(XEN_ELFNOTE_GUEST_OS, "linux"),
      number_note(XEN_ELFNOTE_VIRT_BASE, virt_base), number_note(XEN_ELFNOTE_ENTRY, entry)};
  NotesIn notes_in = NotesIn::segment;
  std::string xen_guest;  // content of a __xen_guest section, if not empty
};

/// Replaces the notes of the same type.
[[nodiscard]] ElfSpec with(ElfSpec spec, NoteSpec note);
[[nodiscard]] ElfSpec without(ElfSpec spec, std::uint32_t type);

/// The file: header at 0, program headers at 64, then notes and segments, section headers last.
[[nodiscard]] Bytes write_elf(const ElfSpec& spec);

[[nodiscard]] Bytes pack(Packing packing, const Bytes& plain);

/// A bzImage of boot protocol 2.15 around a payload that ends in `size_word`, with some code after it.
[[nodiscard]] Bytes write_bzimage(const Bytes& packed, std::uint32_t size_word);
[[nodiscard]] Bytes write_bzimage(Packing packing, const Bytes& elf);

/// Where the parts of such a bzImage end, in ascending order, the whole file included.
[[nodiscard]] std::vector<std::size_t> bzimage_boundaries(const Bytes& image);

}  // namespace pinfold::loader::testing
