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
};

/// Bytes in memory, which outlive it.
class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::span<const std::byte> bytes) : left_(bytes) {}
  std::size_t read(std::span<std::byte> to) override;

 private:
  std::span<const std::byte> left_;
};

/// A file; one that begins as a zstd frame is unpacked on the way. The error says why it can't be opened.
[[nodiscard]] tl::expected<std::unique_ptr<ByteSource>, std::string> open_source(
    const std::filesystem::path& file);
/// Bytes of a zstd frame, unpacked.
[[nodiscard]] std::unique_ptr<ByteSource> unpacked(std::unique_ptr<ByteSource> packed);

}  // namespace pinfold::trace
