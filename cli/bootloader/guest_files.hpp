// A guest's disks as grub-fstest shows them.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/bootloader/fstest.hpp"
#include "loader/boot_menu/boot_files.hpp"

namespace pinfold::cli::bootloader {

/// For the menu's maker, disk n is "hd{n}"; for grub-fstest it is "loop{n}". All names of devices in commands
/// are made here, of devices that the program found itself.
class GuestFiles final : public boot_menu::BootFiles {
 public:
  explicit GuestFiles(Fstest fstest);

  [[nodiscard]] const std::vector<boot_menu::BootDevice>& devices() override;
  [[nodiscard]] std::optional<std::string> read(const std::string& device, const std::string& path) override;
  [[nodiscard]] const std::vector<std::string>& list(const std::string& device,
                                                     const std::string& folder) override;

  /// A whole file of at most `most_bytes`. An error names the file; it is no trouble().
  [[nodiscard]] tl::expected<FstestOutput, std::string> copy(const boot_menu::FilePlace& place,
                                                             std::uint64_t most_bytes);

  /// The first thing that could not be read, and why; never of the kind `absent`. From then on nothing is
  /// found: what is not known could have been a menu, or have named another entry of it.
  [[nodiscard]] const std::optional<FstestError>& trouble() const { return trouble_; }

 private:
  [[nodiscard]] tl::expected<FstestOutput, FstestError> run(const std::vector<std::string>& words,
                                                            std::uint64_t most_bytes, unsigned seconds);
  /// The same for what counts as found or absent: any other error becomes the trouble.
  [[nodiscard]] std::optional<std::string> look(const std::vector<std::string>& words,
                                                std::uint64_t most_bytes, const std::string& what);
  void keep(FstestTrouble kind, const std::string& message);
  [[nodiscard]] bool has_files(const std::string& device);
  [[nodiscard]] std::vector<std::string> list_anew(const std::string& device, const std::string& folder);

  using Folders = std::map<std::pair<std::string, std::string>, std::vector<std::string>>;

  Fstest fstest_;
  std::chrono::steady_clock::time_point deadline_;
  bool looked_ = false;
  std::vector<boot_menu::BootDevice> devices_;
  Folders folders_;
  std::optional<FstestError> trouble_;
};

/// The devices in the output of `ls -l`, in the order in which a boot loader looks at them: disk by disk,
/// partitions by their number, then logical volumes. Names that are not a guest's are left out.
[[nodiscard]] std::vector<boot_menu::BootDevice> parse_devices(std::string_view output);

/// The names in the output of `ls -l FOLDER`.
[[nodiscard]] std::vector<std::string> parse_folder(std::string_view output);

}  // namespace pinfold::cli::bootloader
