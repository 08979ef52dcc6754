#include "trace/byte_source.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

namespace pinfold::trace {
namespace {

constexpr std::array<std::byte, 4> zstd_magic{std::byte{0x28}, std::byte{0xb5}, std::byte{0x2f},
                                              std::byte{0xfd}};

class FileSource final : public ByteSource {
 public:
  explicit FileSource(std::FILE* file) : file_(file) {}
  ~FileSource() override { std::fclose(file_); }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;
  std::size_t read(std::span<std::byte> to) override {
    std::clearerr(file_);  // a file may have grown since its end was seen
    const std::size_t got = std::fread(to.data(), 1, to.size(), file_);
    read_ += got;
    if (got == 0 && std::ferror(file_) != 0) failure_ = std::strerror(errno);
    return got;
  }
  [[nodiscard]] std::string failure() const override { return failure_; }
  [[nodiscard]] std::uint64_t length() const override { return std::max(size_, read_); }
  void rewind() {
    std::rewind(file_);
    read_ = 0;
  }

 private:
  /// 0 for what is no regular file.
  static std::uint64_t size_of(std::FILE* file) {
    struct stat status {};
    if (::fstat(::fileno(file), &status) != 0 || !S_ISREG(status.st_mode)) return 0;
    return static_cast<std::uint64_t>(status.st_size);
  }

  std::FILE* file_;
  std::uint64_t size_ = size_of(file_), read_ = 0;
  std::string failure_;
};

class ZstdSource final : public ByteSource {
 public:
  explicit ZstdSource(std::unique_ptr<ByteSource> packed)
      : packed_(std::move(packed)), stream_(ZSTD_createDStream()), buffer_(ZSTD_DStreamInSize()) {}
  ~ZstdSource() override { ZSTD_freeDStream(stream_); }
  ZstdSource(const ZstdSource&) = delete;
  ZstdSource& operator=(const ZstdSource&) = delete;

  std::size_t read(std::span<std::byte> to) override {
    ZSTD_outBuffer out{to.data(), to.size(), 0};
    while (out.pos == 0 && failure_.empty() && !to.empty()) {
      if (in_.pos == in_.size) {
        in_ = {buffer_.data(), packed_->read(buffer_), 0};
        taken_ += in_.size;
      }
      const bool dry = in_.size == 0;
      const std::size_t result = ZSTD_decompressStream(stream_, &out, &in_);
      if (ZSTD_isError(result) != 0) failure_ = fmt::format("zstd: {}", ZSTD_getErrorName(result));
      if (dry && out.pos == 0) {
        if (result != 0 && failure_.empty() && !whole_) failure_ = "the compressed file ends within its data";
        return 0;
      }
      whole_ = result == 0;
    }
    given_ += out.pos;
    if (given_ > unpacked_of_any_file && (given_ - unpacked_of_any_file) / unpacked_per_byte > taken_) {
      failure_ = fmt::format("{} compressed bytes become more than {} times as many, which is no log", taken_,
                             unpacked_per_byte);
      return 0;
    }
    return out.pos;
  }
  [[nodiscard]] std::string failure() const override {
    return failure_.empty() ? packed_->failure() : failure_;
  }
  [[nodiscard]] std::uint64_t length() const override { return packed_->length(); }

 private:
  std::unique_ptr<ByteSource> packed_;
  ZSTD_DStream* stream_;
  std::vector<std::byte> buffer_;
  ZSTD_inBuffer in_{nullptr, 0, 0};
  bool whole_ = true;  ///< A frame ended with the last byte.
  std::uint64_t taken_ = 0, given_ = 0;
  std::string failure_;
};

}  // namespace

std::size_t MemorySource::read(std::span<std::byte> to) {
  const std::size_t count = std::min(to.size(), left_.size());
  std::copy_n(left_.begin(), count, to.begin());
  left_ = left_.subspan(count);
  return count;
}

std::unique_ptr<ByteSource> unpacked(std::unique_ptr<ByteSource> packed) {
  return std::make_unique<ZstdSource>(std::move(packed));
}

tl::expected<std::unique_ptr<ByteSource>, std::string> open_source(const std::filesystem::path& path) {
  std::FILE* file = std::fopen(path.c_str(), "rbe");
  if (file == nullptr) return tl::unexpected(std::string(std::strerror(errno)));
  auto source = std::make_unique<FileSource>(file);
  std::array<std::byte, 4> begin{};
  const std::size_t got = source->read(begin);
  if (got == 0 && !source->failure().empty()) return tl::unexpected(source->failure());
  source->rewind();
  if (begin == zstd_magic) return unpacked(std::move(source));
  return source;
}

}  // namespace pinfold::trace
