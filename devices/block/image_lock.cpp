#include "devices/block/image_lock.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <span>
#include <thread>

namespace pinfold::devices::block {
namespace {

// What a program may do with an image, as QEMU's block layer counts it: permission N is byte 100+N for a
// program that uses it, and byte 200+N for one that does not let others use it. All locks are shared ones; to
// find another program's, one asks whether an exclusive one would be granted.
constexpr int consistent_read = 0;
constexpr int write_data = 1;
constexpr int resize = 3;
constexpr off_t use_base = 100;
constexpr off_t forbid_base = 200;

constexpr std::array reader_uses = {consistent_read};
constexpr std::array writer_uses = {consistent_read, write_data, resize};
constexpr std::array forbids = {write_data, resize};

std::span<const int> uses(bool read_only) {
  if (read_only) return reader_uses;
  return writer_uses;
}

struct flock byte_at(off_t byte, short type) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}

bool take(int fd, off_t byte) {
  auto lock = byte_at(byte, F_RDLCK);
  return ::fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

bool others_hold(int fd, off_t byte) {
  auto lock = byte_at(byte, F_WRLCK);
  return ::fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

// Own locks first, then a look at those of others: of two programs that start at once, at least one gives up.
LockResult try_lock(int fd, bool read_only) {
  bool took = true;
  for (const int permission : uses(read_only)) took = took && take(fd, use_base + permission);
  for (const int permission : forbids) took = took && take(fd, forbid_base + permission);
  if (!took && errno != EAGAIN && errno != EACCES) return LockResult::not_supported;
  for (const int permission : uses(read_only)) took = took && !others_hold(fd, forbid_base + permission);
  for (const int permission : forbids) took = took && !others_hold(fd, use_base + permission);
  return took ? LockResult::locked : LockResult::held_by_another;
}

// Do the descriptor's locks, as its fdinfo (proc(5)) lists them, include one?
bool has_lock(const std::filesystem::path& fdinfo) {
  std::ifstream in(fdinfo);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("lock:")) return true;
  return false;
}

std::string name_of(const std::filesystem::path& process) {
  std::ifstream in(process / "comm");
  std::string name;
  std::getline(in, name);
  return (name.empty() ? "a program" : name) + ", process " + process.filename().string();
}

// Has the process the file open, and locked?
bool has_locked(const std::filesystem::path& process, const struct stat& file) {
  std::error_code error;
  for (const auto& open : std::filesystem::directory_iterator(process / "fd", error)) {
    struct stat other;
    if (::stat(open.path().c_str(), &other) != 0) continue;
    const bool same = other.st_dev == file.st_dev && other.st_ino == file.st_ino;
    if (same && has_lock(process / "fdinfo" / open.path().filename())) return true;
  }
  return false;
}

}  // namespace

LockResult lock_image(int fd, bool read_only, std::chrono::milliseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  for (;;) {
    const auto result = try_lock(fd, read_only);
    if (result != LockResult::held_by_another) return result;
    unlock_image(fd);
    if (std::chrono::steady_clock::now() >= end) return result;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void unlock_image(int fd) {
  auto all = byte_at(use_base, F_UNLCK);
  all.l_len = 2 * use_base;
  ::fcntl(fd, F_OFD_SETLK, &all);
}

std::optional<std::string> lock_holder(int fd) {
  struct stat file;
  if (::fstat(fd, &file) != 0) return std::nullopt;
  std::error_code error;
  for (const auto& process : std::filesystem::directory_iterator("/proc", error)) {
    const std::string number = process.path().filename().string();
    if (number.find_first_not_of("0123456789") != std::string::npos) continue;
    if (has_locked(process.path(), file)) return name_of(process.path());
  }
  return std::nullopt;
}

}  // namespace pinfold::devices::block
