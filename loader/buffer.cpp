#include "loader/buffer.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "pvmmu/types.hpp"

namespace pinfold::loader {
namespace {

constexpr std::size_t whole_pages(std::size_t bytes) { return (bytes + page_size - 1) & ~(page_size - 1); }

std::string reason(int error) { return std::strerror(error); }

}  // namespace

Buffer::Buffer(std::byte* base, std::size_t size) : base_(base), size_(size), mapped_(whole_pages(size)) {}

Buffer::~Buffer() {
  if (mapped_ != 0) ::munmap(base_, mapped_);
}

void Buffer::swap(Buffer& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(size_, other.size_);
  std::swap(mapped_, other.mapped_);
}

Loaded<Buffer> Buffer::reserve(std::size_t capacity) {
  void* base = ::mmap(nullptr, whole_pages(capacity), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    return refuse("no " + std::to_string(capacity >> 20) + " MiB of address space: " + reason(errno));
  }
  // Fewer page faults while it is filled; a kernel without huge pages says no, and that is fine.
  (void)::madvise(base, whole_pages(capacity), MADV_HUGEPAGE);
  return Buffer(static_cast<std::byte*>(base), capacity);
}

Loaded<Buffer> Buffer::map_file(const std::filesystem::path& path, std::size_t limit) {
  auto file = RegularFile::open(path, limit);
  if (!file) return tl::unexpected(file.error());
  return map_descriptor(file->fd(), file->size());
}

Loaded<Buffer> Buffer::map_descriptor(int file, std::size_t size) {
  void* base = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
  if (base == MAP_FAILED) return refuse("cannot be mapped: " + reason(errno));
  return Buffer(static_cast<std::byte*>(base), size);
}

Loaded<Buffer> Buffer::read_file(const std::filesystem::path& path, std::size_t limit) {
  auto file = RegularFile::open(path, limit);
  if (!file) return tl::unexpected(file.error());
  return read(*file);
}

Loaded<Buffer> Buffer::read(const RegularFile& file) {
  auto buffer = reserve(file.size());
  if (!buffer) return buffer;
  for (std::size_t done = 0; done < file.size();) {
    const ssize_t n = ::pread(file.fd(), buffer->base_ + done, file.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return refuse("cannot be read: " + reason(errno));
    if (n == 0) return refuse("the file became shorter while it was read");
    done += static_cast<std::size_t>(n);
  }
  return buffer;
}

std::string_view Buffer::text() const { return {reinterpret_cast<const char*>(base_), size_}; }

void Buffer::trim(std::size_t used) {
  const std::size_t keep = whole_pages(used);
  if (keep < mapped_) ::munmap(base_ + keep, mapped_ - keep);
  mapped_ = keep;
  size_ = used;
}

}  // namespace pinfold::loader
