// A file that a command makes: it appears when it is complete, or not at all.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <tl/expected.hpp>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli {

/// Bytes go to a file with another name in the target's folder; keep() gives it the target's name, and
/// replaces a file that has it. Without keep(), it is removed, however this process ends. A process of its
/// own does both, so that this one may give up its right to name files in between. A target that is neither
/// absent nor a regular file, such as /dev/stdout, is written directly.
class NewFile {
 public:
  /// An error is the reason. Call it in a process of one thread.
  [[nodiscard]] static tl::expected<NewFile, std::string> create(const std::filesystem::path& target);
  NewFile(NewFile&&) = default;
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile();

  [[nodiscard]] std::ostream& stream() { return stream_; }
  /// False: it could not be written or renamed. Once.
  [[nodiscard]] bool keep();

 private:
  NewFile() = default;
  [[nodiscard]] bool tell_finisher(char word);

  std::ofstream stream_;
  vmm::Fd to_finisher_, from_finisher_;  ///< Without descriptors if the target is written directly.
};

}  // namespace pinfold::cli
