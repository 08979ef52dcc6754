#include "images.hpp"

#include <bzlib.h>
#include <elf.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <stdexcept>

namespace pinfold::loader::testing {
namespace {

constexpr std::size_t setup_sectors = 3;
constexpr std::size_t setup_size = (setup_sectors + 1) * 512;
constexpr std::size_t payload_offset = 0x40;
constexpr std::size_t code_after_payload = 0x200;

void append(Bytes& to, const Bytes& more) { to.insert(to.end(), more.begin(), more.end()); }
void pad(Bytes& bytes, std::size_t alignment) {
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
}
void check(bool fine) {
  if (!fine) throw std::runtime_error("test image could not be packed");
}

Bytes note_bytes(const std::vector<NoteSpec>& notes) {
  Bytes out;
  for (const NoteSpec& note : notes) {
    put(out, out.size(), static_cast<std::uint32_t>(note.owner.size() + 1));
    put(out, out.size(), static_cast<std::uint32_t>(note.desc.size()));
    put(out, out.size(), note.type);
    append(out, bytes_of(note.owner));
    out.push_back(std::byte{0});
    pad(out, 4);
    append(out, note.desc);
    pad(out, 4);
  }
  return out;
}

Bytes pack_gzip(const Bytes& plain) {
  Bytes out(plain.size() + plain.size() / 1000 + 1024);
  z_stream stream{};
  check(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(plain.data()));
  stream.avail_in = static_cast<uInt>(plain.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  check(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

Bytes pack_lzma(const Bytes& plain, bool xz) {
  Bytes out(plain.size() + plain.size() / 2 + 4096);
  lzma_stream stream = LZMA_STREAM_INIT;
  lzma_options_lzma options{};
  check(!lzma_lzma_preset(&options, 1));
  check((xz ? lzma_easy_encoder(&stream, 1, LZMA_CHECK_CRC32) : lzma_alone_encoder(&stream, &options)) ==
        LZMA_OK);
  stream.next_in = reinterpret_cast<const std::uint8_t*>(plain.data());
  stream.avail_in = plain.size();
  stream.next_out = reinterpret_cast<std::uint8_t*>(out.data());
  stream.avail_out = out.size();
  check(lzma_code(&stream, LZMA_FINISH) == LZMA_STREAM_END);
  out.resize(stream.total_out);
  lzma_end(&stream);
  return out;
}

Bytes pack_zstd(const Bytes& plain) {
  Bytes out(ZSTD_compressBound(plain.size()));
  const std::size_t n = ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), 1);
  check(ZSTD_isError(n) == 0);
  out.resize(n);
  return out;
}

Bytes pack_bzip2(const Bytes& plain) {
  Bytes out(plain.size() + plain.size() / 100 + 600);
  auto size = static_cast<unsigned>(out.size());
  check(BZ2_bzBuffToBuffCompress(reinterpret_cast<char*>(out.data()), &size,
                                 reinterpret_cast<char*>(const_cast<std::byte*>(plain.data())),
                                 static_cast<unsigned>(plain.size()), 9, 0, 0) == BZ_OK);
  out.resize(size);
  return out;
}

Bytes pack_lz4_legacy(const Bytes& plain) {
  constexpr std::size_t block = std::size_t{8} << 20;
  Bytes out;
  put(out, 0, std::uint32_t{0x184c2102});
  for (std::size_t at = 0; at < plain.size(); at += block) {
    const auto length = static_cast<int>(std::min(block, plain.size() - at));
    Bytes packed(static_cast<std::size_t>(LZ4_compressBound(length)));
    const int n =
        LZ4_compress_default(reinterpret_cast<const char*>(plain.data() + at),
                             reinterpret_cast<char*>(packed.data()), length, static_cast<int>(packed.size()));
    check(n > 0);
    packed.resize(static_cast<std::size_t>(n));
    put(out, out.size(), static_cast<std::uint32_t>(n));
    append(out, packed);
  }
  return out;
}

Elf64_Ehdr elf_header(const ElfSpec& spec, std::size_t program_headers) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_EXEC;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_entry = spec.entry;
  header.e_phoff = sizeof header;
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = static_cast<Elf64_Half>(program_headers);
  header.e_shentsize = sizeof(Elf64_Shdr);
  return header;
}

void append_sections(Bytes& out, Elf64_Ehdr& header, const ElfSpec& spec, std::size_t notes_at,
                     std::size_t notes_size) {
  constexpr std::string_view names("\0.notes\0__xen_guest\0.shstrtab", 30);
  const std::size_t guest_at = out.size();
  append(out, bytes_of(spec.xen_guest));
  const std::size_t names_at = out.size();
  append(out, bytes_of(names));
  pad(out, 8);
  header.e_shoff = out.size();
  header.e_shnum = 4;
  header.e_shstrndx = 3;
  std::vector<Elf64_Shdr> sections(4);
  const bool notes = spec.notes_in == NotesIn::section && notes_size != 0;
  sections[1].sh_name = 1;
  sections[1].sh_type = notes ? SHT_NOTE : SHT_NULL;
  sections[1].sh_offset = notes_at;
  sections[1].sh_size = notes ? notes_size : 0;
  sections[2].sh_name = spec.xen_guest.empty() ? 0 : 8;
  sections[2].sh_type = SHT_PROGBITS;
  sections[2].sh_offset = guest_at;
  sections[2].sh_size = spec.xen_guest.size();
  sections[3].sh_name = 20;
  sections[3].sh_type = SHT_STRTAB;
  sections[3].sh_offset = names_at;
  sections[3].sh_size = names.size();
  for (const auto& section : sections) put(out, out.size(), section);
}

}  // namespace

Loaded<KernelImage> loaded_kernel(const std::filesystem::path& path) {
  auto file = KernelFile::open(path);
  if (!file) return tl::unexpected(file.error());
  return parse_kernel(std::move(*file));
}

Bytes bytes_of(std::string_view text) {
  Bytes out(text.size());
  std::ranges::transform(text, out.begin(), [](char c) { return static_cast<std::byte>(c); });
  return out;
}

Bytes pattern(std::size_t size) {
  Bytes out(size);
  std::uint32_t state = 0x12345678;
  for (auto& byte : out) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<std::byte>((state >> 24) | 1);
  }
  return out;
}

NoteSpec number_note(std::uint32_t type, std::uint64_t value) {
  NoteSpec note{type, {}};
  put(note.desc, 0, value);
  return note;
}

NoteSpec string_note(std::uint32_t type, std::string_view value) {
  NoteSpec note{type, bytes_of(value)};
  note.desc.push_back(std::byte{0});
  return note;
}

ElfSpec without(ElfSpec spec, std::uint32_t type) {
  std::erase_if(spec.notes, [&](const NoteSpec& note) { return note.type == type; });
  return spec;
}

ElfSpec with(ElfSpec spec, NoteSpec note) {
  spec = without(std::move(spec), note.type);
  spec.notes.push_back(std::move(note));
  return spec;
}

Bytes write_elf(const ElfSpec& spec) {
  const Bytes notes = note_bytes(spec.notes);
  const bool note_segment = spec.notes_in == NotesIn::segment && !notes.empty();
  const std::size_t count = spec.segments.size() + (note_segment ? 1 : 0);
  Elf64_Ehdr header = elf_header(spec, count);
  std::vector<Elf64_Phdr> program_headers;
  Bytes out(sizeof header + count * sizeof(Elf64_Phdr));

  const std::size_t notes_at = out.size();
  append(out, notes);
  for (const SegmentSpec& segment : spec.segments) {
    pad(out, 16);
    Elf64_Phdr load{};
    load.p_type = PT_LOAD;
    load.p_offset = out.size();
    load.p_paddr = segment.paddr;
    load.p_vaddr = spec.virt_base + segment.paddr;
    load.p_filesz = segment.content.size();
    load.p_memsz = segment.memsz == 0 ? segment.content.size() : segment.memsz;
    program_headers.push_back(load);
    append(out, segment.content);
  }
  if (note_segment) {
    Elf64_Phdr note{};
    note.p_type = PT_NOTE;
    note.p_offset = notes_at;
    note.p_filesz = note.p_memsz = notes.size();
    note.p_align = 4;
    program_headers.push_back(note);
  }
  append_sections(out, header, spec, notes_at, notes.size());
  put(out, 0, header);
  for (std::size_t i = 0; i < count; ++i)
    put(out, sizeof header + i * sizeof(Elf64_Phdr), program_headers[i]);
  return out;
}

Bytes pack(Packing packing, const Bytes& plain) {
  switch (packing) {
    case Packing::gzip: return pack_gzip(plain);
    case Packing::xz: return pack_lzma(plain, true);
    case Packing::lzma: return pack_lzma(plain, false);
    case Packing::lz4_legacy: return pack_lz4_legacy(plain);
    case Packing::bzip2: return pack_bzip2(plain);
    case Packing::zstd: return pack_zstd(plain);
    default: return plain;
  }
}

Bytes write_bzimage(const Bytes& packed, std::uint32_t size_word) {
  Bytes out(setup_size);
  put(out, 0x1f1, static_cast<std::uint8_t>(setup_sectors));
  put(out, 0x1fe, std::uint16_t{0xaa55});
  std::memcpy(out.data() + 0x202, "HdrS", 4);
  put(out, 0x206, std::uint16_t{0x020f});
  put(out, 0x248, static_cast<std::uint32_t>(payload_offset));
  put(out, 0x24c, static_cast<std::uint32_t>(packed.size() + sizeof size_word));
  out.resize(out.size() + payload_offset);
  append(out, packed);
  put(out, out.size(), size_word);
  out.resize(out.size() + code_after_payload);
  put(out, 0x1f4, static_cast<std::uint32_t>((out.size() - setup_size + 15) / 16));
  return out;
}

Bytes write_bzimage(Packing packing, const Bytes& elf) {
  Bytes packed = pack(packing, elf);
  const auto size = static_cast<std::uint32_t>(elf.size());
  if (packing == Packing::gzip)
    packed.resize(packed.size() - sizeof size);  // gzip ends in that word by itself
  return write_bzimage(packed, size);
}

std::vector<std::size_t> bzimage_boundaries(const Bytes& image) {
  const auto payload_end = setup_size + payload_offset + get<std::uint32_t>(image, 0x24c);
  return {0x1f1,       0x1fe,       0x202, 0x206, 0x248, 0x250, setup_size, setup_size + payload_offset,
          payload_end, image.size()};
}

}  // namespace pinfold::loader::testing
