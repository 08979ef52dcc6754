// A kernel file, read and unpacked, but not understood yet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "loader/buffer.hpp"
#include "loader/load_error.hpp"
#include "loader/unpack_cache.hpp"

namespace pinfold::loader {

/// A kernel that lzop packed. No library under this program's licence unpacks it.
struct LzoStream {
  std::optional<std::uint32_t> unpacked_size;  ///< As a bzImage has it, modulo 2^32.
};

/// What is said of one where nobody has lzop unpack it.
inline constexpr const char* lzo_is_for_others =
    "compressed with lzo: unpack it first (Linux: scripts/extract-vmlinux)";

/// The ELF file that a kernel file holds.
struct UnpackedKernel {
  std::size_t offset = 0, size = 0;  ///< Its place in the kernel file, if it is not packed.
  Buffer bytes;                      ///< Else what it unpacks to; empty: it is not packed.
  bool slow = false;                 ///< Unpacking took long enough to be worth a place in the cache.
  std::optional<LzoStream> lzo{};  ///< At that place is no ELF file, but this, for another program to unpack.
};

/// Finds the ELF file in a bzImage or a compressed ELF file. Never throws on bad input and never reads past
/// it. Of one that is packed with LZO it finds the place only. Errors say what is wrong with the file.
[[nodiscard]] Loaded<UnpackedKernel> unpack_kernel(std::span<const std::byte> file,
                                                   const Progress& progress = {});

/// unpack_kernel(), or a function that has another process do it.
using Unpacker =
    std::function<Loaded<UnpackedKernel>(std::span<const std::byte> file, const Progress& progress)>;

/// The bytes of a kernel's ELF file, and the path that errors about them start with. Nothing has looked at
/// the bytes but the Unpacker.
class KernelFile {
 public:
  /// Reads the file once, at most 1 GiB of it. What is slow to unpack goes through the cache, by the whole
  /// file's bytes: so what one file makes of its entry concerns no other file.
  [[nodiscard]] static Loaded<KernelFile> open(const std::filesystem::path& path,
                                               const Progress& progress = {}, const UnpackCache& cache = {},
                                               const Unpacker& unpack = unpack_kernel);

  /// An ELF file that another process has read and unpacked.
  KernelFile(std::filesystem::path path, Buffer elf)
      : path_(std::move(path)), bytes_(std::move(elf)), size_(bytes_.bytes().size()) {}
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::span<const std::byte> elf() const { return bytes_.bytes().subspan(offset_, size_); }
  /// `message`, with the path in front.
  [[nodiscard]] std::string about(const std::string& message) const;
  /// What elf() points into.
  [[nodiscard]] Buffer take_bytes() { return std::move(bytes_); }

 private:
  explicit KernelFile(std::filesystem::path path) : path_(std::move(path)) {}
  [[nodiscard]] Loaded<void> read(const Progress& progress, const UnpackCache& cache, const Unpacker& unpack);

  std::filesystem::path path_;
  Buffer bytes_;
  std::size_t offset_ = 0, size_ = 0;
};

}  // namespace pinfold::loader
