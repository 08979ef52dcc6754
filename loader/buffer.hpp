// Memory for whole files and unpacked images.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <utility>

#include "loader/load_error.hpp"
#include "loader/regular_file.hpp"

namespace pinfold::loader {

/// Pages of the monitor's own, given back when the object goes.
///
/// `reserve` takes address space only: a page costs memory (and time) when it is first written, and reads as
/// zero before. So a decompressor gets room for the largest permitted result, writes straight into it, and
/// `trim` returns the rest: no size needs to be known beforehand, nothing is copied or cleared.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer(std::move(other)).swap(*this);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer();

  [[nodiscard]] static Loaded<Buffer> reserve(std::size_t capacity);
  /// A read-only view of a regular file. The file must keep its size while this lives.
  [[nodiscard]] static Loaded<Buffer> map_file(const std::filesystem::path& path, std::size_t limit);
  /// A read-only view of an open file, its pages at hand. The file must keep its size while this lives.
  [[nodiscard]] static Loaded<Buffer> map_descriptor(int file, std::size_t size);
  /// A copy of a file: nobody can change it while it is parsed.
  [[nodiscard]] static Loaded<Buffer> read(const RegularFile& file);
  /// The same, opened by its path.
  [[nodiscard]] static Loaded<Buffer> read_file(const std::filesystem::path& path, std::size_t limit);

  /// Keeps the first `used` bytes. `used` must not exceed the size.
  void trim(std::size_t used);

  [[nodiscard]] std::span<const std::byte> bytes() const { return {base_, size_}; }
  [[nodiscard]] std::string_view text() const;
  /// Not for a mapped file.
  [[nodiscard]] std::span<std::byte> writable() { return {base_, size_}; }

 private:
  Buffer(std::byte* base, std::size_t size);
  void swap(Buffer& other) noexcept;

  std::byte* base_ = nullptr;
  std::size_t size_ = 0;
  std::size_t mapped_ = 0;  // bytes, whole pages
};

}  // namespace pinfold::loader
