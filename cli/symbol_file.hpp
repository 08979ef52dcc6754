// A file with the names of a guest kernel's functions, open but not read yet.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "cli/system_map.hpp"
#include "loader/buffer.hpp"
#include "loader/regular_file.hpp"

namespace pinfold::cli {

inline constexpr std::size_t most_bytes_of_map = std::size_t{256} << 20;  ///< Linux's are 5 to 15 MiB.

/// A System.map, a copy of a guest's /proc/kallsyms, or an ELF file with a symbol table. Who opens one reads
/// it later: what is in it may be of the guest's making.
class SymbolFile {
 public:
  /// No file: no names.
  SymbolFile() = default;
  /// An empty path: no file. Errors start with the path.
  [[nodiscard]] static tl::expected<SymbolFile, std::string> open_map(const std::filesystem::path& path);
  [[nodiscard]] static tl::expected<SymbolFile, std::string> open_elf(const std::filesystem::path& path);

  /// A map that another process read, in a file that cannot change any more. `path` is for messages.
  [[nodiscard]] static SymbolFile of(loader::Buffer map, std::filesystem::path path) {
    SymbolFile file;
    file.path_ = std::move(path);
    file.map_.emplace(std::move(map));
    return file;
  }

  /// The names; an empty map without a file. Errors start with the path; a file that names no function is
  /// one.
  [[nodiscard]] tl::expected<std::shared_ptr<const SystemMap>, std::string> read() const;

 private:
  SymbolFile(std::filesystem::path path, loader::RegularFile file, bool is_elf)
      : path_(std::move(path)), file_(std::move(file)), is_elf_(is_elf) {}

  std::filesystem::path path_;
  std::optional<loader::RegularFile> file_;
  std::optional<loader::Buffer> map_;  ///< In place of `file_`.
  bool is_elf_ = false;
};

}  // namespace pinfold::cli
