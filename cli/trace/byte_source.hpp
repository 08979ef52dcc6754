// Where a log's bytes come from.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <tl/expected.hpp>

namespace pinfold::trace {

/// Bytes in their order, once.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Fills the begin of `to`; how much. 0: nothing more now, although a file that grows may have more later.
  virtual std::size_t read(std::span<std::byte> to) = 0;
  /// What went wrong below, once read() has returned 0; empty: nothing.
  [[nodiscard]] virtual std::string failure() const { return {}; }
  /// How many bytes there are below all unpacking, as far as that is known: those of the file, or those read
  /// so far.
  [[nodiscard]] virtual std::uint64_t length() const = 0;
};

/// Bytes in memory, which outlive it.
class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::span<const std::byte> bytes) : left_(bytes), length_(bytes.size()) {}
  std::size_t read(std::span<std::byte> to) override;
  [[nodiscard]] std::uint64_t length() const override { return length_; }

 private:
  std::span<const std::byte> left_;
  std::uint64_t length_;
};

/// A file; one that begins as a zstd frame is unpacked on the way. The error says why it can't be opened.
[[nodiscard]] tl::expected<std::unique_ptr<ByteSource>, std::string> open_source(
    const std::filesystem::path& file);
/// Unpacked, a log may have so many bytes, and so many more for each byte that it has packed. Real logs have
/// three or four for each.
inline constexpr std::uint64_t unpacked_of_any_file = 1ULL << 20, unpacked_per_byte = 64;

/// Bytes of a zstd frame, unpacked, while they are no more than that.
[[nodiscard]] std::unique_ptr<ByteSource> unpacked(std::unique_ptr<ByteSource> packed);

}  // namespace pinfold::trace
