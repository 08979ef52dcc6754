#include "cli/console/log.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "cli/console/attachment.hpp"
#include "pvmmu/service_thread.hpp"

namespace pinfold::cli {
namespace {

constexpr std::size_t piece = std::size_t{64} * 1024;

/// Makes `to` a copy of `from`, or of its beginning if the host can't store more.
void copy(const vmm::Fd& from, const vmm::Fd& to) {
  (void)!::ftruncate(to.get(), 0);
  std::vector<char> bytes(piece);
  for (off_t at = 0;;) {
    const ssize_t n = ::pread(from.get(), bytes.data(), bytes.size(), at);
    if (n <= 0 || ::pwrite(to.get(), bytes.data(), static_cast<std::size_t>(n), at) != n) return;
    at += n;
  }
}

}  // namespace

tl::expected<LogFiles, std::string> LogFiles::open(const ConsoleOptions& options) {
  std::vector<std::filesystem::path> files{options.log};
  for (std::uint32_t i = 1; i <= options.old_logs; ++i)
    files.emplace_back(options.log.string() + fmt::format(".{}", i));
  return open(files, options.log_bytes);
}

tl::expected<LogFiles, std::string> LogFiles::open(const std::vector<std::filesystem::path>& files,
                                                   std::uint64_t limit) {
  std::vector<vmm::Fd> opened;
  for (const std::filesystem::path& path : files) {
    vmm::Fd& file =
        opened.emplace_back(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600));
    if (!file.open()) return tl::unexpected(path.string() + ": " + std::strerror(errno));
    struct stat found {};
    if (::fstat(file.get(), &found) != 0 || !S_ISREG(found.st_mode))
      return tl::unexpected(path.string() + " is not a regular file");
  }
  return of(std::move(opened), limit);
}

tl::expected<LogFiles, std::string> LogFiles::of(std::vector<vmm::Fd> files, std::uint64_t limit) {
  LogFiles log;
  for (const vmm::Fd& file : files) {
    struct stat found {};
    // Not fstat(3): the call of that name takes no path, and a confined monitor may make it.
    const int flags = file.open() ? ::fcntl(file.get(), F_GETFL) : -1;
    if (flags < 0 || (flags & O_ACCMODE) != O_RDWR || ::syscall(SYS_fstat, file.get(), &found) != 0 ||
        !S_ISREG(found.st_mode))
      return tl::unexpected(std::string("a file of the console's log is not a regular file"));
    if (&file == &files.front()) log.size_ = static_cast<std::uint64_t>(found.st_size);
  }
  log.limit_ = limit;
  log.files_ = std::move(files);
  return log;
}

std::size_t LogFiles::append(std::string_view bytes) {
  std::size_t written = 0;
  while (written < bytes.size()) {
    if (size_ >= limit_) rotate();
    const auto part = bytes.substr(written, static_cast<std::size_t>(limit_ - size_));
    const ssize_t n = ::pwrite(files_.front().get(), part.data(), part.size(), static_cast<off_t>(size_));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    written += static_cast<std::size_t>(n);
    size_ += static_cast<std::size_t>(n);
  }
  return written;
}

void LogFiles::rotate() {
  for (std::size_t i = files_.size() - 1; i > 0; --i) copy(files_[i - 1], files_[i]);
  (void)!::ftruncate(files_.front().get(), 0);
  size_ = 0;
}

ConsoleLog::ConsoleLog(ConsoleHub& hub, LogFiles files)
    : hub_(hub), files_(std::move(files)), place_(hub.place_with_history()) {
  hub_.join(*this);
  thread_ = service_thread(ThreadKind::log, [this] { loop(); });
}

ConsoleLog::~ConsoleLog() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    changed_.notify_one();
  }
  thread_.join();
  hub_.leave(*this);
}

void ConsoleLog::output_ready() {
  const std::lock_guard lock(mutex_);
  ready_ = true;
  changed_.notify_one();
}

void ConsoleLog::loop() {
  for (bool closing = false; !closing;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return ready_ || closing_; });
      ready_ = false;
      closing = closing_;
    }
    while (write_some()) {
    }
  }
}

bool ConsoleLog::write_some() {
  std::array<std::byte, 4096> bytes;
  const auto read = hub_.read(place_, bytes);
  missing_ += read.lost;
  if (read.bytes == 0) return false;
  std::string text = missing_ != 0 ? note_of_loss(missing_) : std::string();
  const std::size_t before = text.size();
  for (const std::byte b : std::span(bytes).first(read.bytes)) text.push_back(static_cast<char>(b));
  const std::size_t written = files_.append(text);
  if (written >= before) missing_ = 0;
  missing_ += text.size() - std::max(written, before);
  if (written < text.size() && !std::exchange(told_, true))
    spdlog::warn("console log: {}; what can't be written is missing in it", std::strerror(errno));
  if (written == text.size()) told_ = false;
  return true;
}

}  // namespace pinfold::cli
