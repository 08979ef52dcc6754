#include "loader/unpack_cache.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <future>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace pinfold::loader {
namespace {

constexpr std::string_view entry_prefix = "kernel-", unfinished_prefix = ".unfinished-";
constexpr std::time_t unfinished_patience = 3600;  // seconds, after which its writer has crashed

/// The end of an entry's file, after the unpacked bytes and the packed ones.
struct Trailer {
  std::array<char, 16> magic;
  std::uint64_t unpacked;  // bytes
  std::uint64_t packed;    // bytes
  std::array<std::uint64_t, 2> checksum;

  bool operator==(const Trailer&) const = default;
};
static_assert(sizeof(Trailer) == 48);
constexpr std::array<char, 16> magic{"pinfold-cache-1"};

/// XXH3 of each half, on two processors: an image of 64 MiB is as much memory as the copy into the guest.
std::array<std::uint64_t, 2> checksum_of(std::span<const std::byte> bytes) {
  const auto digest = [](std::span<const std::byte> part) -> std::uint64_t {
    return XXH3_64bits(part.data(), part.size());
  };
  const std::size_t half = bytes.size() / 2;
  try {
    auto second = std::async(std::launch::async, digest, bytes.subspan(half));
    const std::uint64_t first = digest(bytes.first(half));
    return {first, second.get()};
  } catch (const std::system_error&) {  // no thread to be had
    return {digest(bytes.first(half)), digest(bytes.subspan(half))};
  }
}

/// Different payloads may share a name: then they replace each other.
std::string entry_name(std::span<const std::byte> packed) {
  std::array<char, 17> hex{};
  std::snprintf(hex.data(), hex.size(), "%016llx",
                static_cast<unsigned long long>(XXH3_64bits(packed.data(), packed.size())));
  return std::string(entry_prefix) + hex.data();
}

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  File(File&&) = delete;
  File& operator=(File&&) = delete;
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool write(std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return true;
  }

 private:
  int fd_;
};

/// Nobody but the calling user can have put something there.
bool private_to_user(const struct stat& info) {
  return info.st_uid == ::geteuid() && (info.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

struct Listed {
  std::string name;
  struct timespec used;
  std::uint64_t bytes;
};

bool newer(const Listed& a, const Listed& b) {
  return a.used.tv_sec != b.used.tv_sec ? a.used.tv_sec > b.used.tv_sec : a.used.tv_nsec > b.used.tv_nsec;
}

/// The directory's entries. Removes what crashed writers left.
std::vector<Listed> list(int directory) {
  std::vector<Listed> found;
  const int again = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (again < 0) return found;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(again), ::closedir);
  if (!stream) {
    ::close(again);
    return found;
  }
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string name = entry->d_name;
    struct stat info {};
    if (::fstatat(directory, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (name.starts_with(unfinished_prefix) && info.st_mtime < ::time(nullptr) - unfinished_patience)
      ::unlinkat(directory, name.c_str(), 0);
    if (name.starts_with(entry_prefix))
      found.push_back({name, info.st_mtim, static_cast<std::uint64_t>(info.st_size)});
  }
  return found;
}

}  // namespace

std::filesystem::path cache_directory(const char* setting, const char* cache_home, const char* home) {
  const auto absolute = [](const char* text) { return text != nullptr && text[0] == '/'; };
  if (setting != nullptr) return absolute(setting) ? setting : "";
  if (absolute(cache_home)) return std::filesystem::path(cache_home) / "pinfold";
  if (absolute(home)) return std::filesystem::path(home) / ".cache" / "pinfold";
  return {};
}

UnpackCache::UnpackCache(const std::filesystem::path& directory, Limits limits) : limits_(limits) {
  if (directory.empty()) return;
  std::error_code ignored;
  if (directory.has_parent_path()) std::filesystem::create_directories(directory.parent_path(), ignored);
  (void)::mkdir(directory.c_str(), S_IRWXU);
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  struct stat info {};
  if (fd >= 0 && ::fstat(fd, &info) == 0 && private_to_user(info))
    directory_ = fd;
  else if (fd >= 0)
    ::close(fd);
}

UnpackCache::UnpackCache(UnpackCache&& other) noexcept
    : directory_(std::exchange(other.directory_, -1)), limits_(other.limits_) {}

UnpackCache::~UnpackCache() {
  if (directory_ >= 0) ::close(directory_);
}

UnpackCache UnpackCache::of_user() {
  // Not getenv: a program with more rights than its caller must not use the caller's directory.
  return UnpackCache(cache_directory(::secure_getenv("PINFOLD_CACHE"), ::secure_getenv("XDG_CACHE_HOME"),
                                     ::secure_getenv("HOME")));
}

std::optional<Buffer> UnpackCache::find(std::span<const std::byte> packed) const {
  if (!usable()) return std::nullopt;
  const std::string name = entry_name(packed);
  auto entry = map_entry(name, packed);
  if (!entry) ::unlinkat(directory_, name.c_str(), 0);
  return entry;
}

std::optional<Buffer> UnpackCache::map_entry(const std::string& name,
                                             std::span<const std::byte> packed) const {
  const File file(::openat(directory_, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat info {};
  if (file.get() < 0 || ::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode) || !private_to_user(info))
    return std::nullopt;
  const auto size = static_cast<std::uint64_t>(info.st_size);
  const std::uint64_t overhead = packed.size() + sizeof(Trailer);
  if (size <= overhead || size > limits_.bytes) return std::nullopt;
  auto buffer = Buffer::map_descriptor(file.get(), size);
  if (!buffer) return std::nullopt;

  const auto unpacked = buffer->bytes().first(size - overhead);
  Trailer trailer{};
  std::memcpy(&trailer, buffer->bytes().data() + size - sizeof trailer, sizeof trailer);
  if (std::memcmp(buffer->bytes().data() + unpacked.size(), packed.data(), packed.size()) != 0 ||
      trailer != Trailer{magic, unpacked.size(), packed.size(), checksum_of(unpacked)})
    return std::nullopt;
  // The time of last use. An error changes only what goes first.
  (void)::futimens(file.get(), nullptr);
  buffer->trim(unpacked.size());
  return std::move(*buffer);
}

void UnpackCache::keep(std::span<const std::byte> packed, std::span<const std::byte> unpacked) const {
  if (!usable() || packed.size() + unpacked.size() + sizeof(Trailer) > limits_.bytes) return;
  const std::string name = entry_name(packed);
  const std::string unfinished = std::string(unfinished_prefix) + std::to_string(::getpid()) + "-" + name;
  {
    const File file(::openat(directory_, unfinished.c_str(),
                             O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR));
    if (file.get() < 0) return;
    const std::array<Trailer, 1> trailer{
        Trailer{magic, unpacked.size(), packed.size(), checksum_of(unpacked)}};
    // No fsync: an entry that a power failure damaged is found out by its checksum.
    if (!file.write(unpacked) || !file.write(packed) || !file.write(std::as_bytes(std::span(trailer)))) {
      ::unlinkat(directory_, unfinished.c_str(), 0);
      return;
    }
  }
  if (::renameat(directory_, unfinished.c_str(), directory_, name.c_str()) != 0)
    ::unlinkat(directory_, unfinished.c_str(), 0);
  make_room(name);
}

void UnpackCache::make_room(const std::string& newest) const {
  auto entries = list(directory_);
  std::ranges::sort(entries, [&](const Listed& a, const Listed& b) {
    return (a.name == newest) != (b.name == newest) ? a.name == newest : newer(a, b);
  });
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    bytes += entries[i].bytes;
    if (i >= limits_.entries || bytes > limits_.bytes) ::unlinkat(directory_, entries[i].name.c_str(), 0);
  }
}

}  // namespace pinfold::loader
