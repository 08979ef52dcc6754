#include "loader/elf_symbols.hpp"

#include <fmt/format.h>
#include <gelf.h>
#include <libelf.h>

#include <cstring>
#include <memory>

namespace pinfold::loader {
namespace {

struct ElfEnd {
  void operator()(Elf* elf) const { elf_end(elf); }
};

/// libelf checks what the section's header says against the file's size; names are checked here.
void append_functions(std::string& list, Elf* elf, Elf_Scn* section, const GElf_Shdr& header) {
  Elf_Data* data = elf_getdata(section, nullptr);
  if (data == nullptr || header.sh_entsize == 0) return;
  const auto count = static_cast<int>(std::min<std::uint64_t>(data->d_size / header.sh_entsize, 1 << 24));
  for (int i = 0; i < count; ++i) {
    GElf_Sym symbol;
    if (gelf_getsym(data, i, &symbol) == nullptr) return;
    const int type = GELF_ST_TYPE(symbol.st_info);
    // Assembly's entry points often have no type.
    if ((type != STT_FUNC && type != STT_NOTYPE) || symbol.st_shndx == SHN_UNDEF ||
        symbol.st_shndx == SHN_ABS)
      continue;
    const char* name = elf_strptr(elf, header.sh_link, symbol.st_name);
    if (name == nullptr || *name == 0 || std::strpbrk(name, " \n\r\t") != nullptr) continue;
    list += fmt::format("{:016x} {} {}\n", symbol.st_value,
                        GELF_ST_BIND(symbol.st_info) == STB_LOCAL ? 't' : 'T', name);
  }
}

using ElfFile = std::unique_ptr<Elf, ElfEnd>;

Loaded<std::string> functions_of(const ElfFile& elf) {
  if (!elf || elf_kind(elf.get()) != ELF_K_ELF || gelf_getclass(elf.get()) != ELFCLASS64)
    return refuse("not a 64-bit ELF file");
  std::string list;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf.get(), section)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) != nullptr && header.sh_type == SHT_SYMTAB)
      append_functions(list, elf.get(), section, header);
  }
  if (list.empty()) return refuse("no function is named in it");
  return list;
}

}  // namespace

Loaded<std::string> function_list(int file) {
  if (elf_version(EV_CURRENT) == EV_NONE) return refuse("libelf is of another version");
  return functions_of(ElfFile(elf_begin(file, ELF_C_READ, nullptr)));
}

Loaded<std::string> function_list(std::span<const std::byte> file) {
  if (elf_version(EV_CURRENT) == EV_NONE) return refuse("libelf is of another version");
  // libelf reads only, but its interface does not say so.
  const void* const begin = file.data();
  return functions_of(ElfFile(elf_memory(static_cast<char*>(const_cast<void*>(begin)), file.size())));
}

}  // namespace pinfold::loader
