// Files without a descriptor of their own, which this process reads for a confined program: what it reads is
// made at that moment, and nothing else of the file.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <tl/expected.hpp>
#include <vector>

#include "cli/tools/tool_filter.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli::tools {

/// What such a file contains. Nobody writes it.
class ServedFile {
 public:
  virtual ~ServedFile() = default;
  /// How long it is; the same each time.
  [[nodiscard]] virtual std::uint64_t bytes() const = 0;
  /// Fills `to` from `offset` on, which is inside the file with all that is asked for. 0, or an errno. It may
  /// wait, but not for ever.
  [[nodiscard]] virtual int read(std::uint64_t offset, std::span<std::byte> to) = 0;
};

/// Those that one program has open. Each has a file without content for the kernel: its size is the file's,
/// so fstat(2) and lseek(2) need no question; the filter makes questions of read(2) and close(2).
class ServedFiles {
 public:
  /// What the program gets.
  struct Opened {
    int descriptor;  ///< In this process.
    int number;      ///< The number that the program must have it under.
  };
  /// `file` outlives this object. An error is an errno.
  [[nodiscard]] tl::expected<Opened, int> open(ServedFile& file);
  /// What the program's next read(2) of `number` gives it, for at most `most` bytes; less at the end, or if
  /// it asks for much. Valid until the next call. An error is an errno.
  [[nodiscard]] tl::expected<std::span<const std::byte>, int> read(int number, std::uint64_t most);
  /// The program has got `bytes` of it.
  void advance(int number, std::size_t bytes);
  void close(int number);

 private:
  struct Place {
    vmm::Fd position;  ///< Shares its offset with the program's.
    ServedFile* file = nullptr;
  };
  [[nodiscard]] Place* find(int number);

  std::array<Place, most_served_descriptors> places_;
  std::vector<std::byte> buffer_;
};

}  // namespace pinfold::cli::tools
