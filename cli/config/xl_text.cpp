#include "cli/config/xl_text.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace pinfold::cli {
namespace {

/// A descriptor that is closed at the end.
class Opened {
 public:
  // Not blocking: to open a pipe for reading would wait for a writer.
  explicit Opened(const std::filesystem::path& file)
      : fd_(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) {}
  ~Opened() {
    if (fd_ >= 0) ::close(fd_);
  }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_;
};

/// False: errno says why.
bool read_all(int fd, std::string& text) {
  char buffer[16384];
  while (text.size() <= longest_config_text) {
    const auto got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return false;
    if (got == 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return true;
}

}  // namespace

tl::expected<std::string, Remark> read_config_text(const std::filesystem::path& file) {
  const auto wrong = [&file](std::string what) {
    return tl::unexpected(Remark{Severity::error, file.string(), 0, std::move(what)});
  };
  const Opened opened(file);
  struct stat found {};
  if (opened.fd() < 0 || ::fstat(opened.fd(), &found) != 0) return wrong(std::strerror(errno));
  if (!S_ISREG(found.st_mode)) return wrong("not a regular file");
  std::string text;
  if (!read_all(opened.fd(), text)) return wrong(std::strerror(errno));
  if (text.size() > longest_config_text)
    return wrong(fmt::format("larger than {} KiB: not a configuration file", longest_config_text / 1024));
  return prepare_config_text(std::move(text), file.string());
}

tl::expected<std::string, Remark> prepare_config_text(std::string text, const std::string& source) {
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);
  if (const auto zero = text.find('\0'); zero != std::string::npos) {
    const auto line = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(zero), '\n') + 1;
    return tl::unexpected(
        Remark{Severity::error, source, static_cast<unsigned>(line), "a byte of value 0: not a text file"});
  }
  std::string prepared;
  prepared.reserve(text.size() + 1);
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] != '\r' || i + 1 == text.size() || text[i + 1] != '\n') prepared += text[i];
  if (prepared.ends_with('\r')) prepared.pop_back();
  if (!prepared.ends_with('\n')) prepared += '\n';
  return prepared;
}

}  // namespace pinfold::cli
