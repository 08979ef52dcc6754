#include "cli/logs/new_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace pinfold::cli {
namespace {

constexpr char word_keep = 'k', word_done = 'd';

/// The process that names and removes files. It ends when nobody can tell it anything any more.
[[noreturn]] void finish(int words, int answers, const std::string& part, const std::string& target) {
  // Signals of the terminal are for the command; what it leaves behind has to go.
  for (const int signal : {SIGINT, SIGQUIT, SIGHUP, SIGPIPE}) (void)std::signal(signal, SIG_IGN);
  char word = 0;
  ssize_t n = 0;
  do n = ::read(words, &word, 1);
  while (n < 0 && errno == EINTR);
  const bool kept = n == 1 && word == word_keep && std::rename(part.c_str(), target.c_str()) == 0;
  if (!kept) (void)::unlink(part.c_str());
  if (kept) (void)!::write(answers, &word_done, 1);
  ::_exit(0);
}

/// An empty file beside `target`, with the permissions of any new file.
tl::expected<std::string, std::string> make_part(const std::filesystem::path& target) {
  std::string name = target.string() + ".XXXXXX";
  const vmm::Fd file(::mkostemp(name.data(), O_CLOEXEC));
  if (!file.open()) return tl::unexpected(std::string(std::strerror(errno)));
  const mode_t mask = ::umask(0);
  ::umask(mask);
  (void)::fchmod(file.get(), 0666 & ~mask);
  return name;
}

struct Pipe {
  vmm::Fd read, write;
};
tl::expected<Pipe, std::string> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return tl::unexpected(std::string(std::strerror(errno)));
  return Pipe{vmm::Fd(ends[0]), vmm::Fd(ends[1])};
}

}  // namespace

tl::expected<NewFile, std::string> NewFile::create(const std::filesystem::path& target) {
  NewFile made;
  std::error_code error;
  const auto place = std::filesystem::weakly_canonical(target, error);  // A link stays one.
  if (error || (std::filesystem::exists(place, error) && !std::filesystem::is_regular_file(place, error))) {
    made.stream_.open(target, std::ios::binary | std::ios::trunc);
    if (!made.stream_) return tl::unexpected(std::string(std::strerror(errno)));
    return made;
  }
  auto words = make_pipe();
  auto answers = make_pipe();
  if (!words || !answers) return tl::unexpected((words ? answers : words).error());
  auto part = make_part(place);
  if (!part) return tl::unexpected(part.error());
  made.stream_.open(*part, std::ios::binary | std::ios::trunc);
  const pid_t finisher = made.stream_ ? ::fork() : -1;
  if (finisher < 0) {
    const std::string why = std::strerror(errno);
    (void)::unlink(part->c_str());
    return tl::unexpected(why);
  }
  if (finisher == 0) {
    words->write = {};
    answers->read = {};
    finish(words->read.get(), answers->write.get(), *part, place.string());
  }
  made.to_finisher_ = std::move(words->write);
  made.from_finisher_ = std::move(answers->read);
  return made;
}

bool NewFile::tell_finisher(char word) {
  char answer = 0;
  if (::write(to_finisher_.get(), &word, 1) != 1) return false;
  return ::read(from_finisher_.get(), &answer, 1) == 1 && answer == word_done;
}

bool NewFile::keep() {
  stream_.close();
  if (!stream_) return false;
  return !to_finisher_.open() || tell_finisher(word_keep);
}

NewFile::~NewFile() {
  if (!to_finisher_.open()) return;
  to_finisher_ = {};
  char none = 0;
  (void)!::read(from_finisher_.get(), &none, 1);  // Until the finisher has ended.
}

}  // namespace pinfold::cli
