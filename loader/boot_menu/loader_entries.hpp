// Boot Loader Specification, type 1 (https://uapi-group.org/specifications/specs/boot_loader_specification/):
// a file for each kernel in loader/entries.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "loader/boot_menu/boot_menu.hpp"

namespace pinfold::boot_menu {

struct LoaderEntry {
  std::string id;  ///< The file's name, without ".conf" and without counted tries.
  std::string title, version, machine_id, sort_key;
  std::string kernel;  ///< Empty: it is not for Linux.
  std::vector<std::string> initrds;
  std::string options;
};

[[nodiscard]] LoaderEntry parse_loader_entry(std::string_view file_name, std::string_view text);

/// Negative, 0, positive: `a` is older than `b`, as RPM compares versions ("5.10" is newer than "5.9", and
/// "6.1~rc1" older than "6.1").
[[nodiscard]] int compare_versions(std::string_view a, std::string_view b);

/// How entries are ordered, the default one first.
enum class EntryOrder : std::uint8_t {
  by_id,             ///< As Fedora's GRUB: the newest file name first.
  by_specification,  ///< By sort-key and machine-id, then the newest version first.
};

/// All entries of a folder, at most most_entries. Files that are none of a kernel are left out.
[[nodiscard]] std::vector<LoaderEntry> read_loader_entries(BootFiles& files, const FilePlace& folder,
                                                           EntryOrder order);

/// loader/entries and loader/loader.conf, without GRUB. `prefix` as in GrubContext.
[[nodiscard]] tl::expected<Menu, std::string> read_loader_menu(BootFiles& files, const FilePlace& folder,
                                                               const std::string& prefix);

}  // namespace pinfold::boot_menu
