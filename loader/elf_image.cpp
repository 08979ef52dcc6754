#include "loader/elf_image.hpp"

#include <gelf.h>
#include <libelf.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

namespace pinfold::loader {
namespace {

struct ElfEnd {
  void operator()(Elf* elf) const { elf_end(elf); }
};
using ElfHandle = std::unique_ptr<Elf, ElfEnd>;

constexpr std::uint64_t max_paddr = std::uint64_t{1} << 52;  // architectural limit (Intel SDM vol. 3A, 4.1.4)

bool within(std::uint64_t offset, std::uint64_t length, std::size_t size) {
  return offset <= size && length <= size - offset;
}

/// Checked before libelf sees the file: it needs no more than the header itself.
Loaded<void> check_header(std::span<const std::byte> file) {
  if (file.size() < EI_NIDENT) return refuse("ELF header is truncated");
  const auto ident = [&](int i) { return std::to_integer<int>(file[static_cast<std::size_t>(i)]); };
  if (ident(EI_CLASS) == ELFCLASS32) return refuse("32-bit kernel: only x86-64 kernels can be run");
  if (ident(EI_CLASS) != ELFCLASS64) return refuse("ELF class is neither 32-bit nor 64-bit");
  if (ident(EI_DATA) != ELFDATA2LSB)
    return refuse("ELF file is not little-endian: only x86-64 kernels can be run");
  if (file.size() < sizeof(Elf64_Ehdr)) return refuse("ELF header is truncated");

  Elf64_Ehdr header;
  std::memcpy(&header, file.data(), sizeof header);
  if (header.e_machine != EM_X86_64) {
    return refuse("kernel is for ELF machine " + std::to_string(header.e_machine) + ", not x86-64");
  }
  if (header.e_type != ET_EXEC && header.e_type != ET_DYN) return refuse("ELF file is not an executable");
  if (header.e_phnum == 0) return refuse("ELF file has no program headers");
  if (header.e_phnum == PN_XNUM) return refuse("ELF file has too many program headers");
  if (header.e_phentsize != sizeof(Elf64_Phdr)) return refuse("ELF program headers have an unknown size");
  if (!within(header.e_phoff, std::uint64_t{header.e_phnum} * sizeof(Elf64_Phdr), file.size())) {
    return refuse("ELF program headers lie past the end of the file");
  }
  // A count that does not fit into e_shnum would stand elsewhere; no kernel has that many.
  if (header.e_shnum == 0 && header.e_shoff != 0) return refuse("ELF file has too many section headers");
  if (header.e_shnum == 0) return {};
  if (header.e_shentsize != sizeof(Elf64_Shdr)) return refuse("ELF section headers have an unknown size");
  if (!within(header.e_shoff, std::uint64_t{header.e_shnum} * sizeof(Elf64_Shdr), file.size())) {
    return refuse("ELF section headers lie past the end of the file");
  }
  return {};
}

Loaded<Segment> load_segment(const GElf_Phdr& header, std::span<const std::byte> file) {
  if (header.p_memsz < header.p_filesz) return refuse("ELF segment is smaller in memory than in the file");
  const bool in_file = header.p_filesz != 0;  // else p_offset means nothing
  if (in_file && !within(header.p_offset, header.p_filesz, file.size())) {
    return refuse("ELF segment lies past the end of the file");
  }
  if (header.p_paddr > max_paddr || header.p_memsz > max_paddr - header.p_paddr) {
    return refuse("ELF segment ends past the largest physical address");
  }
  return Segment{header.p_paddr, header.p_memsz,
                 in_file ? file.subspan(header.p_offset, header.p_filesz) : std::span<const std::byte>{}};
}

/// Gathers Xen's notes from the chunks of a file that hold notes.
class NoteReader {
 public:
  NoteReader(Elf* elf, std::span<const std::byte> file, std::vector<XenNote>& notes)
      : elf_(elf), file_(file), notes_(notes) {}

  /// Notes lie packed with 4-byte alignment, for Xen's in 64-bit files too. Chunks past the end of the file
  /// hold none.
  Loaded<void> read(std::uint64_t offset, std::uint64_t size) {
    if (size == 0 || !within(offset, size, file_.size())) return {};
    // Headers may name the same chunk again and again: what is read in all is bounded, or it could take for
    // ever.
    if (size > budget_) return refuse("ELF file has more than 4 MiB of notes");
    budget_ -= size;
    Elf_Data* data = elf_getdata_rawchunk(elf_, static_cast<std::int64_t>(offset), size, ELF_T_NHDR);
    if (data == nullptr) return {};
    const auto chunk = file_.subspan(offset, size);
    GElf_Nhdr note;
    std::size_t name_at = 0;
    std::size_t desc_at = 0;
    for (std::size_t at = 0; (at = gelf_getnote(data, at, &note, &name_at, &desc_at)) > 0;) {
      if (note.n_namesz != owner.size()) continue;
      if (!within(name_at, note.n_namesz, size) || !within(desc_at, note.n_descsz, size)) break;
      if (std::memcmp(chunk.data() + name_at, owner.data(), owner.size()) != 0) continue;
      notes_.push_back({note.n_type, chunk.subspan(desc_at, note.n_descsz)});
    }
    return {};
  }

 private:
  static constexpr std::string_view owner{"Xen\0", 4};  // n_namesz counts the NUL

  Elf* elf_;
  std::span<const std::byte> file_;
  std::vector<XenNote>& notes_;
  std::uint64_t budget_ = std::uint64_t{4} << 20;
};

Loaded<void> read_program_headers(Elf* elf, std::span<const std::byte> file, ElfImage& image) {
  NoteReader notes(elf, file, image.xen_notes);
  std::size_t count = 0;
  if (elf_getphdrnum(elf, &count) != 0) return refuse("ELF program headers cannot be read");
  for (std::size_t i = 0; i < count; ++i) {
    GElf_Phdr header;
    if (gelf_getphdr(elf, static_cast<int>(i), &header) == nullptr) {
      return refuse("ELF program headers cannot be read");
    }
    if (header.p_type == PT_NOTE) {
      if (auto fine = notes.read(header.p_offset, header.p_filesz); !fine) return fine;
    }
    if (header.p_type != PT_LOAD || header.p_memsz == 0) continue;
    const auto segment = load_segment(header, file);
    if (!segment) return tl::unexpected(segment.error());
    image.segments.push_back(*segment);
  }
  return {};
}

Loaded<void> check_segments(std::vector<Segment>& segments) {
  if (segments.empty()) return refuse("ELF file has nothing to load: no PT_LOAD segment");
  std::sort(segments.begin(), segments.end(),
            [](const Segment& a, const Segment& b) { return a.paddr < b.paddr; });
  const auto clash =
      std::adjacent_find(segments.begin(), segments.end(),
                         [](const Segment& a, const Segment& b) { return b.paddr - a.paddr < a.memsz; });
  if (clash != segments.end()) return refuse("ELF segments overlap in physical memory");
  return {};
}

/// Notes and the older string, for files that have no note segment.
Loaded<void> read_sections(Elf* elf, std::span<const std::byte> file, ElfImage& image) {
  std::size_t names = 0;
  const bool named = elf_getshdrstrndx(elf, &names) == 0;
  NoteReader notes(elf, file, image.xen_notes);
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr) return refuse("ELF section headers cannot be read");
    if (header.sh_type == SHT_NOTE) {
      if (auto fine = notes.read(header.sh_offset, header.sh_size); !fine) return fine;
    }
    const char* name = named ? elf_strptr(elf, names, header.sh_name) : nullptr;
    if (name == nullptr || std::strcmp(name, "__xen_guest") != 0 || header.sh_type == SHT_NOBITS) continue;
    if (!within(header.sh_offset, header.sh_size, file.size())) continue;
    const auto text = file.subspan(header.sh_offset, header.sh_size);
    image.xen_guest = {reinterpret_cast<const char*>(text.data()), text.size()};
  }
  return {};
}

}  // namespace

bool is_elf(std::span<const std::byte> file) {
  return file.size() >= SELFMAG && std::memcmp(file.data(), ELFMAG, SELFMAG) == 0;
}

Loaded<ElfImage> parse_elf(std::span<const std::byte> file) {
  if (!is_elf(file)) return refuse("not an ELF file");
  if (auto fine = check_header(file); !fine) return tl::unexpected(fine.error());
  if (elf_version(EV_CURRENT) == EV_NONE) return refuse("libelf is too old");
  // libelf's interface lacks the const: an image opened in memory is only read.
  auto* bytes = reinterpret_cast<char*>(const_cast<std::byte*>(file.data()));
  const ElfHandle elf(elf_memory(bytes, file.size()));
  if (!elf || elf_kind(elf.get()) != ELF_K_ELF) return refuse("ELF file cannot be read");

  ElfImage image;
  GElf_Ehdr header;
  if (gelf_getehdr(elf.get(), &header) == nullptr) return refuse("ELF header cannot be read");
  image.entry = header.e_entry;
  if (auto fine = read_program_headers(elf.get(), file, image); !fine) return tl::unexpected(fine.error());
  if (auto fine = check_segments(image.segments); !fine) return tl::unexpected(fine.error());
  if (!image.xen_notes.empty()) return image;
  if (auto fine = read_sections(elf.get(), file, image); !fine) return tl::unexpected(fine.error());
  return image;
}

}  // namespace pinfold::loader
