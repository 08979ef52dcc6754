// The files of a guest's disks, as its own boot loader would find them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pinfold::boot_menu {

/// A disk, a partition or a logical volume.
struct BootDevice {
  std::string name;  ///< As GRUB 2 calls it: "hd0", "hd0,gpt2", "lvm/vg-root".
  std::string uuid;  ///< Of its file system; empty: none that is known.
  std::string label;
  std::uint64_t start_bytes = 0;  ///< Of a partition.
  bool has_files = false;         ///< There is a file system that can be read.
};

/// Everything that comes from it was written by the guest.
class BootFiles {
 public:
  BootFiles() = default;
  BootFiles(const BootFiles&) = delete;
  BootFiles& operator=(const BootFiles&) = delete;
  virtual ~BootFiles() = default;

  /// In the order in which a boot loader looks for its menu.
  [[nodiscard]] virtual const std::vector<BootDevice>& devices() = 0;
  /// A text of bounded size; nullopt: there is none, or it can't be read. The path is absolute and checked
  /// (is_plain_path).
  [[nodiscard]] virtual std::optional<std::string> read(const std::string& device,
                                                        const std::string& path) = 0;
  /// The names in a folder, those of folders with '/' behind them; empty: there is no such folder.
  [[nodiscard]] virtual const std::vector<std::string>& list(const std::string& device,
                                                             const std::string& folder) = 0;
};

/// A file on one of the devices.
struct FilePlace {
  std::string device, path;
  bool operator==(const FilePlace&) const = default;
};

/// Whether a path of a guest's can be passed to a program that knows devices as "(NAME)": it begins with '/',
/// has no parentheses and no control characters, and at most 4095 bytes.
[[nodiscard]] bool is_plain_path(std::string_view path);

/// Whether there is such a file or folder.
[[nodiscard]] bool exists(BootFiles& files, const FilePlace& place);
[[nodiscard]] bool is_folder(BootFiles& files, const FilePlace& place);

/// False: the folder that should have this folder (with '/' at its end) in it has no such name. A symbolic
/// link to a folder looks like a file, so true does not mean that it is a folder.
[[nodiscard]] bool may_be_folder(BootFiles& files, const std::string& device, const std::string& folder);

/// How a menu counts partitions: GRUB 2 from 1, the GRUB before it from 0.
enum class PartitionCount : std::uint8_t { from_one, from_zero };

/// The device that a menu means by "hd0,msdos1", "hd0,1", "lvm/vg-root" or "xen/xvda"; null: none of the
/// guest's.
[[nodiscard]] const BootDevice* find_device(BootFiles& files, std::string_view name,
                                            PartitionCount count = PartitionCount::from_one);

/// The file that a menu means by "(hd0,1)/vmlinuz" or, on `root`, by "/vmlinuz". nullopt: a device that is
/// not the guest's, or no plain path. A disk that the guest calls hd… and that is not there means `home`:
/// guests were moved from disks with partitions to disks without.
[[nodiscard]] std::optional<FilePlace> find_place(BootFiles& files, std::string_view text,
                                                  const std::string& root, const std::string& home,
                                                  PartitionCount count = PartitionCount::from_one);

}  // namespace pinfold::boot_menu
