#include "cli/symbol_file.hpp"

#include <limits>
#include <string_view>
#include <utility>

#include "loader/buffer.hpp"
#include "loader/elf_symbols.hpp"

namespace pinfold::cli {
namespace {

/// Of an ELF file only the tables of symbols are read.
constexpr std::size_t most_elf_bytes = std::numeric_limits<off_t>::max();

std::string about(const std::filesystem::path& path, const std::string& why) {
  return path.string() + ": " + why;
}

}  // namespace

tl::expected<SymbolFile, std::string> SymbolFile::open_map(const std::filesystem::path& path) {
  if (path.empty()) return SymbolFile();
  auto file = loader::RegularFile::open(path, most_bytes_of_map);
  if (!file) return tl::unexpected(about(path, file.error().message));
  return SymbolFile(path, std::move(*file), false);
}

tl::expected<SymbolFile, std::string> SymbolFile::open_elf(const std::filesystem::path& path) {
  if (path.empty()) return SymbolFile();
  auto file = loader::RegularFile::open(path, most_elf_bytes);
  if (!file) return tl::unexpected(about(path, file.error().message));
  return SymbolFile(path, std::move(*file), true);
}

tl::expected<std::shared_ptr<const SystemMap>, std::string> SymbolFile::read() const {
  if (!file_ && !map_) return std::make_shared<const SystemMap>();
  const auto wrong = [this](const std::string& why) { return tl::unexpected(about(path_, why)); };
  std::shared_ptr<const SystemMap> map;
  if (map_) {
    map = std::make_shared<const SystemMap>(SystemMap::parse(map_->text()));
  } else if (is_elf_) {
    const auto list = loader::function_list(file_->fd());
    if (!list) return wrong(list.error().message);
    map = std::make_shared<const SystemMap>(SystemMap::parse(*list));
  } else {
    const auto text = loader::Buffer::read(*file_);
    if (!text) return wrong(text.error().message);
    map = std::make_shared<const SystemMap>(SystemMap::parse(text->text()));
  }
  if (map->empty()) return wrong("names no function");
  return map;
}

}  // namespace pinfold::cli
