// A 64-bit x86 ELF executable, taken apart without trusting it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "loader/load_error.hpp"

namespace pinfold::loader {

/// A PT_LOAD program header. The bytes of `file` come first, then zeroes up to `memsz`.
struct Segment {
  std::uint64_t paddr = 0;  // byte address, as the file has it
  std::uint64_t memsz = 0;  // bytes, at least file.size()
  std::span<const std::byte> file;
};

/// One ELF note with the owner name "Xen".
struct XenNote {
  std::uint32_t type = 0;  // XEN_ELFNOTE_*, xen/elfnote.h
  std::span<const std::byte> desc;
};

/// What the loader needs of an ELF file. Spans point into the file's bytes.
struct ElfImage {
  std::uint64_t entry = 0;        // e_entry
  std::vector<Segment> segments;  // by paddr; none overlaps another; paddr + memsz does not wrap
  std::vector<XenNote> xen_notes;
  std::string_view xen_guest;  // content of the older `__xen_guest` section; empty if there is none
};

[[nodiscard]] bool is_elf(std::span<const std::byte> file);

/// Errors: not a little-endian 64-bit x86-64 executable; a header, table or segment past the end of the file;
/// no PT_LOAD; p_memsz < p_filesz; segments that wrap or overlap in physical addresses; more than 4 MiB of
/// notes. Notes are taken from PT_NOTE segments; if these hold none of Xen's, from SHT_NOTE sections.
[[nodiscard]] Loaded<ElfImage> parse_elf(std::span<const std::byte> file);

}  // namespace pinfold::loader
