// An open file of bounded size.
#pragma once

#include <cstddef>
#include <filesystem>
#include <utility>

#include "loader/load_error.hpp"

namespace pinfold::loader {

/// A regular file, open for reading, that was neither empty nor larger than a limit when it was opened. What
/// is in it is read later: by then the monitor may have given up the right to open files.
class RegularFile {
 public:
  /// Errors do not name the file.
  [[nodiscard]] static Loaded<RegularFile> open(const std::filesystem::path& path, std::size_t limit);
  RegularFile(RegularFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}
  RegularFile& operator=(RegularFile&& other) noexcept {
    std::swap(fd_, other.fd_);
    size_ = other.size_;
    return *this;
  }
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;
  ~RegularFile();

  [[nodiscard]] int fd() const { return fd_; }
  /// Bytes, when it was opened.
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  explicit RegularFile(int fd) : fd_(fd) {}

  int fd_;
  std::size_t size_ = 0;
};

}  // namespace pinfold::loader
