#include "cli/config/disk_spec.hpp"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "cli/config/vdev.hpp"

namespace pinfold::cli {
namespace {

using Failed = tl::unexpected<std::string>;

constexpr std::array foreign_formats{std::pair("vmdk", DiskFormat::vmdk),
                                     std::pair("vhdx", DiskFormat::vhdx)};
constexpr std::array known_formats{
    std::pair("raw", DiskFormat::raw),     std::pair("qcow", DiskFormat::qcow),
    std::pair("qcow2", DiskFormat::qcow2), std::pair("vhd", DiskFormat::vhd),
    std::pair("qed", DiskFormat::qed),     std::pair("empty", DiskFormat::raw)};

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\n");
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

/// Where in a field the name of the format stands, if it is that of `name`: "format=vmdk", the second
/// positional field "vmdk", a prefix "vmdk:" or "tap2:vmdk:". npos: nowhere.
std::size_t place_of_format(std::string_view field, std::string_view name, bool is_first) {
  const std::size_t blanks = field.size() - trimmed(field).size();
  const std::string_view word = field.substr(blanks);
  constexpr std::string_view keyword = "format=";
  if (word.starts_with(keyword) && word.substr(keyword.size()) == name) return blanks + keyword.size();
  if (!is_first) return word == name ? blanks : std::string_view::npos;
  for (const std::string_view before : {"", "tap:", "tap2:", "tapdisk:", "file:"})
    if (word.starts_with(before) && word.substr(before.size()).starts_with(std::string(name) + ':'))
      return blanks + before.size();
  return std::string_view::npos;
}

/// Puts "raw" in the place of a format that the library does not know.
void replace_format(DiskSpec& spec) {
  const std::string_view text = spec.text;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find(',', start), text.size());
    const std::string_view field = text.substr(start, end - start);
    // The target takes all the rest, commas included.
    if (trimmed(field).starts_with("target=")) return;
    for (const auto& [name, format] : foreign_formats) {
      const std::size_t place = place_of_format(field, name, start == 0);
      if (place == std::string_view::npos) continue;
      spec.for_library.replace(start + place, std::string_view(name).size(), "raw");
      spec.format = format;
      return;
    }
    start = end + 1;
  }
}

/// For the mistakes that are made most.
std::string_view hint_for(std::string_view error) {
  constexpr std::string_view about = "unknown value for format: near `";
  if (!error.starts_with(about) || !error.ends_with('\'')) return "";
  const std::string_view word = error.substr(about.size(), error.size() - about.size() - 1);
  if (vdev_number(word)) return " (the format comes before the device: TARGET,raw,DEVICE)";
  return word.ends_with(' ') ? " (no space is allowed before the comma)" : "";
}

tl::expected<DiskConfig, std::string> check(DiskConfig disk, const XlDisk& answer) {
  if (disk.target.empty() && !answer.cdrom) return Failed("no image or block device");
  if (!vdev_number(disk.vdev))
    return Failed(fmt::format("{} is not the name of a disk, such as xvda", disk.vdev));
  if (!answer.specification.empty() || answer.backend_type == "standalone")
    return Failed("a PV guest has no virtio disks");
  if (!disk.backend.empty() && disk.format != DiskFormat::raw)
    return Failed(
        fmt::format("{}: a driver domain serves block devices of its own, format=raw", disk.backend));
  if (answer.colo) return Failed("COLO, a copy on another host, is not supported");
  return disk;
}

}  // namespace

const char* name_of(DiskFormat format) {
  for (const auto& [name, known] : known_formats)
    if (known == format) return name;
  for (const auto& [name, known] : foreign_formats)
    if (known == format) return name;
  return "";
}

DiskSpec disk_spec(std::string text) {
  DiskSpec spec{text, text, std::nullopt};
  replace_format(spec);
  return spec;
}

tl::expected<DiskConfig, std::string> disk_config(const DiskSpec& spec,
                                                  const tl::expected<XlDisk, std::string>& answer) {
  if (!answer) return Failed(answer.error() + std::string(hint_for(answer.error())));
  DiskConfig disk;
  disk.target = answer->target;
  bool format_known = false;
  for (const auto& [name, format] : known_formats) {
    if (answer->format != name) continue;
    disk.format = spec.format.value_or(format);
    format_known = true;
  }
  if (!format_known) return Failed(fmt::format("unknown format {}", answer->format));
  // xl-disk-configuration(5): such a path is below /dev.
  if (trimmed(spec.text).starts_with("phy:") && disk.target.is_relative() && !disk.target.empty() &&
      answer->script.empty())
    disk.target = "/dev" / disk.target;
  disk.vdev = answer->vdev;
  disk.read_only = answer->read_only;
  disk.cdrom = answer->cdrom;
  disk.discard = answer->discard.value_or(true) && !disk.read_only;
  disk.direct_io = answer->direct_io_safe;
  disk.script = answer->script;
  if (answer->backend != "0" && answer->backend != "Domain-0") disk.backend = answer->backend;
  return check(std::move(disk), *answer);
}

}  // namespace pinfold::cli
