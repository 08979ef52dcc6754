#include "cli/tools/tool.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <utility>

namespace pinfold::cli::tools {
namespace {

tl::unexpected<ToolFailure> no_sandbox(const std::string& why) {
  return tl::unexpected(ToolFailure{false, why});
}

vmm::Fd find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (!folder.starts_with('/')) continue;
    vmm::Fd program(::open((folder + "/" + name).c_str(), O_PATH | O_CLOEXEC));
    struct stat facts {};
    if (program.open() && ::fstat(program.get(), &facts) == 0 && S_ISREG(facts.st_mode) &&
        (facts.st_mode & S_IXUSR) != 0)
      return program;
  }
  return {};
}

/// The same under a number that the child does not need for anything else.
vmm::Fd raised(vmm::Fd fd) { return vmm::Fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, listener_number + 1)); }

}  // namespace

bool is_installed(const std::string& name) { return find_program(name).open(); }

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

tl::expected<ConfinedTool, ToolFailure> ConfinedTool::start(ToolPlan plan) {
  ConfinedTool tool;
  const vmm::Fd program = raised(find_program(plan.name));
  if (!program.open()) return tl::unexpected(ToolFailure{true, plan.name + " is not installed"});
  tool.output_ = vmm::Fd(::memfd_create("pinfold-tool", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  tool.complaints_ = vmm::Fd(::memfd_create("pinfold-tool-words", MFD_CLOEXEC));
  std::array<int, 2> ends{-1, -1};
  if (!tool.output_.open() || !tool.complaints_.open() ||
      ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return no_sandbox(std::strerror(errno));
  const vmm::Fd ours(ends[0]);
  vmm::Fd its = raised(vmm::Fd(ends[1]));

  plan.words.insert(plan.words.begin(), plan.name);
  const FilterDescriptors descriptors{program.get(), its.get()};
  const auto filter = ToolFilter::make(plan.calls, descriptors);
  if (!filter) return no_sandbox(filter.error());
  ChildSetup setup{
      *filter,     descriptors, plan.input, tool.output_.get(), tool.complaints_.get(), plan.listener,
      plan.bounds, plan.user,   {}};
  for (std::string& word : plan.words) setup.argv.push_back(word.data());
  setup.argv.push_back(nullptr);

  const pid_t parent = ::getpid();
  tool.pid_ = ::fork();
  if (tool.pid_ == 0) become_tool(parent, setup);
  if (tool.pid_ < 0) return no_sandbox(std::string("fork: ") + std::strerror(errno));
  tool.gone_ = vmm::Fd(static_cast<int>(::syscall(SYS_pidfd_open, tool.pid_, 0)));
  if (!tool.gone_.open()) return no_sandbox(std::string("pidfd_open: ") + std::strerror(errno));
  its = vmm::Fd();
  auto questions = receive_questions(ours);
  if (!questions) return no_sandbox(questions.error());
  tool.requests_.emplace(std::move(*questions), tool.pid_, std::move(plan.opener));
  return tool;
}

ConfinedTool::ConfinedTool(ConfinedTool&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      gone_(std::move(other.gone_)),
      output_(std::move(other.output_)),
      complaints_(std::move(other.complaints_)),
      requests_(std::move(other.requests_)) {}

ConfinedTool::~ConfinedTool() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

tl::expected<ConfinedTool::Served, std::string> ConfinedTool::serve(int ready, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return Served::late;
    std::array<pollfd, 3> fds{
        {{requests_ ? requests_->fd() : -1, POLLIN, 0}, {gone_.get(), POLLIN, 0}, {ready, POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), static_cast<int>(std::min<long>(left, 1'000'000))) < 0 &&
        errno != EINTR)
      return tl::unexpected(std::string("poll: ") + std::strerror(errno));
    if ((fds[0].revents & POLLIN) != 0)
      if (auto answered = requests_->answer_one(); !answered) return tl::unexpected(answered.error());
    if (fds[1].revents != 0) return Served::ended;
    if (fds[2].revents != 0) return Served::ready;
  }
}

void ConfinedTool::terminate() const {
  if (pid_ > 0) ::kill(pid_, SIGTERM);
}

std::optional<int> ConfinedTool::wait(int milliseconds) {
  if (pid_ < 0) return std::nullopt;
  pollfd end{gone_.get(), POLLIN, 0};
  (void)::poll(&end, 1, milliseconds);
  int status = 0;
  // Under strace -f, the tracer has to take the status first: then waitpid() has to wait although it ended.
  if (::waitpid(pid_, &status, end.revents != 0 ? 0 : WNOHANG) != pid_) return std::nullopt;
  pid_ = -1;
  return status;
}

}  // namespace pinfold::cli::tools
