#include "cli/bootloader/fstest.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "cli/bootloader/open_requests.hpp"
#include "loader/load_error.hpp"

namespace pinfold::cli::bootloader {
namespace {

using Clock = std::chrono::steady_clock;

tl::unexpected<FstestError> no_sandbox(const std::string& why) {
  return tl::unexpected(FstestError{
      true, fmt::format("grub-fstest can't be confined on this host ({}), so no boot loader can be run: give "
                        "copies of the guest's kernel and RAM disk as kernel= and ramdisk=",
                        why)});
}

tl::unexpected<FstestError> failed(std::string why) {
  return tl::unexpected(FstestError{false, std::move(why)});
}

vmm::Fd find_program() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (!folder.starts_with('/')) continue;
    vmm::Fd program(::open((folder + "/grub-fstest").c_str(), O_PATH | O_CLOEXEC));
    struct stat facts {};
    if (program.open() && ::fstat(program.get(), &facts) == 0 && S_ISREG(facts.st_mode) &&
        (facts.st_mode & S_IXUSR) != 0)
      return program;
  }
  return {};
}

/// A child that is killed and reaped with this object.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid), gone_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    (void)wait();
  }

  /// Readable when it has ended.
  [[nodiscard]] const vmm::Fd& gone() const { return gone_; }
  int wait() {
    int status = 0;
    while (pid_ > 0 && ::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

 private:
  pid_t pid_;
  vmm::Fd gone_;
};

/// Answers questions until the child has ended. An error is a reason.
tl::expected<void, FstestError> serve(OpenRequests& requests, const Child& child, Clock::time_point deadline,
                                      const FstestBounds& bounds) {
  if (!child.gone().open()) return no_sandbox(std::string("pidfd_open: ") + std::strerror(errno));
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return failed(fmt::format("it took longer than {} seconds", bounds.seconds));
    std::array<pollfd, 2> fds{{{requests.fd(), POLLIN, 0}, {child.gone().get(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), static_cast<int>(left)) < 0 && errno != EINTR)
      return no_sandbox(std::string("poll: ") + std::strerror(errno));
    if ((fds[0].revents & POLLIN) != 0 && !requests.answer_one())
      return no_sandbox(fmt::format(
          "its requests can't be read: {}; see kernel.yama.ptrace_scope in sysctl(8)", std::strerror(errno)));
    if (fds[1].revents != 0) return {};
  }
}

/// "grub-fstest: error: …": the part behind it, in one line.
std::string complaint(const vmm::Fd& words) {
  std::string text = text_of(words, 4096);
  text = text.substr(0, text.find('\n'));
  constexpr std::string_view start = "grub-fstest: error: ";
  if (text.starts_with(start)) text.erase(0, start.size());
  while (text.ends_with('.')) text.pop_back();
  return loader::printable(text, 200);
}

}  // namespace

std::string text_of(const vmm::Fd& file, std::size_t limit) {
  std::string text;
  std::array<char, 65536> piece{};
  while (text.size() < limit) {
    const auto got = ::pread(file.get(), piece.data(), std::min(piece.size(), limit - text.size()),
                             static_cast<off_t>(text.size()));
    if (got <= 0) break;
    text.append(piece.data(), static_cast<std::size_t>(got));
  }
  return text;
}

tl::expected<Fstest, FstestError> Fstest::find(std::vector<vmm::Fd> disks) {
  Fstest fstest;
  fstest.program_ = find_program();
  if (!fstest.program_.open())
    return tl::unexpected(FstestError{
        true,
        "boot loaders need grub-fstest, which is not installed: it is in Debian's package grub-common"});
  fstest.disks_ = std::move(disks);
  return fstest;
}

tl::expected<FstestOutput, FstestError> Fstest::run(const std::vector<std::string>& words,
                                                    const FstestBounds& bounds) const {
  FstestOutput output;
  output.file = vmm::Fd(::memfd_create("pinfold-boot", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const vmm::Fd complaints(::memfd_create("pinfold-boot-words", MFD_CLOEXEC));
  std::array<int, 2> ends{-1, -1};
  if (!output.file.open() || !complaints.open() ||
      ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return no_sandbox(std::strerror(errno));
  const vmm::Fd ours(ends[0]);
  vmm::Fd its(ends[1]);

  std::vector<std::string> all{"grub-fstest", "-c", std::to_string(disks_.size())};
  for (std::size_t i = 0; i < disks_.size(); ++i) all.push_back(path_of_disk(i));
  all.insert(all.end(), words.begin(), words.end());
  const FilterDescriptors descriptors{program_.get(), its.get()};
  const auto filter = FstestFilter::make(descriptors);
  if (!filter) return no_sandbox(filter.error());
  ChildSetup setup{*filter, descriptors, output.file.get(), complaints.get(), bounds, {}};
  for (std::string& word : all) setup.argv.push_back(word.data());
  setup.argv.push_back(nullptr);

  const pid_t parent = ::getpid(), pid = ::fork();
  if (pid == 0) become_fstest(parent, setup);
  if (pid < 0) return no_sandbox(std::string("fork: ") + std::strerror(errno));
  Child child(pid);
  its = vmm::Fd();
  auto questions = receive_questions(ours);
  if (!questions) return no_sandbox(questions.error());
  OpenRequests requests(std::move(*questions), pid, disks_);
  const auto deadline = Clock::now() + std::chrono::seconds(bounds.seconds);
  if (auto served = serve(requests, child, deadline, bounds); !served) return tl::unexpected(served.error());
  const int status = child.wait();
  struct stat facts {};
  if (::fstat(output.file.get(), &facts) != 0 ||
      ::fcntl(output.file.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) != 0)
    return no_sandbox(std::string("the output can't be sealed: ") + std::strerror(errno));
  output.size = static_cast<std::uint64_t>(facts.st_size);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ)
    return failed(fmt::format("it has more than {} bytes", bounds.output_bytes));
  if (WIFSIGNALED(status)) return failed(fmt::format("grub-fstest was ended by signal {}", WTERMSIG(status)));
  if (WEXITSTATUS(status) != 0) return failed(complaint(complaints));
  return output;
}

}  // namespace pinfold::cli::bootloader
