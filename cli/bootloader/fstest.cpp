#include "cli/bootloader/fstest.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "loader/load_error.hpp"

namespace pinfold::cli::bootloader {
namespace {

using tools::ConfinedTool;
using tools::text_of;

tl::unexpected<FstestError> cant(const char* what, const std::string& why) {
  return tl::unexpected(
      FstestError{FstestTrouble::host,
                  fmt::format("grub-fstest can't be {} on this host ({}), so no boot loader can be run: give "
                              "copies of the guest's kernel and RAM disk as kernel= and ramdisk=",
                              what, why)});
}

tl::unexpected<FstestError> no_sandbox(const std::string& why) { return cant("confined", why); }

tl::unexpected<FstestError> not_installed() {
  return tl::unexpected(FstestError{
      FstestTrouble::host,
      "boot loaders need grub-fstest, which is not installed: it is in Debian's package grub-common"});
}

tl::unexpected<FstestError> failed(std::string why) {
  return tl::unexpected(FstestError{FstestTrouble::disks, std::move(why)});
}

/// The path of disk `index` in the eyes of the program. No such path has to exist.
std::string path_of_disk(std::size_t index) { return fmt::format("/disk{}", index); }

tools::Opened opened(const FstestDisk& disk) {
  if (const auto* file = std::get_if<vmm::Fd>(&disk))
    return vmm::Fd(::fcntl(file->get(), F_DUPFD_CLOEXEC, 3));
  return std::get<std::unique_ptr<tools::ServedFile>>(disk).get();
}

/// Disks under their paths, for reading.
tools::Opener opener_of(const std::vector<FstestDisk>& disks) {
  return [&disks](const std::string& path, int flags) -> tl::expected<tools::Opened, int> {
    if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) != 0) return tl::unexpected(EACCES);
    for (std::size_t i = 0; i < disks.size(); ++i)
      if (path == path_of_disk(i)) return opened(disks[i]);
    return tl::unexpected(ENOENT);
  };
}

/// The first line of its complaints: of "grub-fstest: error: …" the part behind that, else what the dynamic
/// linker says.
std::string complaint(const vmm::Fd& words) {
  constexpr std::size_t most_bytes = 16384;  // it may say a path of the guest's twice
  std::string text = text_of(words, most_bytes);
  text = text.substr(0, text.find('\n'));
  for (const std::string_view start : {"grub-fstest: ", "error: "})
    if (text.starts_with(start)) text.erase(0, start.size());
  while (text.ends_with('.')) text.pop_back();
  return text;
}

/// Does the complaint of `cat FILE` say that there is no such file? Its exit status is 1 for any error.
bool says_absent(std::string_view complaint, const std::vector<std::string>& command) {
  if (command.size() != 2 || command[0] != "cat") return false;
  const std::string start = fmt::format("cannot open `{}': ", command[1]);
  if (!complaint.starts_with(start)) return false;
  complaint.remove_prefix(start.size());
  constexpr std::array<std::string_view, 3> ways{"not a directory", "not a regular file",
                                                 "too deep nesting of symlinks"};
  return (complaint.starts_with("file `") && complaint.ends_with("' not found")) ||
         std::find(ways.begin(), ways.end(), complaint) != ways.end();
}

tl::unexpected<FstestError> ended_with(int status, const std::string& said,
                                       const std::vector<std::string>& command) {
  const std::string line = loader::printable(said, 200);
  if (status == tools::not_executed || status == tools::not_loaded) return cant("executed", line);
  if (says_absent(said, command)) return tl::unexpected(FstestError{FstestTrouble::absent, line});
  return failed(line.empty() ? fmt::format("grub-fstest ended with status {}", status) : line);
}

}  // namespace

tl::expected<Fstest, FstestError> Fstest::find(std::vector<FstestDisk> disks) {
  if (!tools::is_installed("grub-fstest")) return not_installed();
  Fstest fstest;
  fstest.disks_ = std::move(disks);
  return fstest;
}

tl::expected<FstestOutput, FstestError> Fstest::run(const std::vector<std::string>& words,
                                                    const FstestBounds& bounds) const {
  tools::ToolPlan plan;
  plan.name = "grub-fstest";
  plan.words = {"-c", std::to_string(disks_.size())};
  for (std::size_t i = 0; i < disks_.size(); ++i) plan.words.push_back(path_of_disk(i));
  plan.words.insert(plan.words.end(), words.begin(), words.end());
  plan.bounds = {bounds.output_bytes, bounds.seconds};
  plan.opener = opener_of(disks_);
  auto tool = ConfinedTool::start(std::move(plan));
  if (!tool) return tool.error().is_missing ? not_installed() : no_sandbox(tool.error().message);
  const auto served = tool->serve(-1, ConfinedTool::Clock::now() + std::chrono::seconds(bounds.seconds));
  if (!served) return no_sandbox(served.error());
  if (*served == ConfinedTool::Served::late)
    return failed(fmt::format("it took longer than {} seconds", bounds.seconds));
  const int status = tool->wait(1000).value_or(SIGKILL);
  FstestOutput output;
  output.file = std::move(tool->output());
  struct stat facts {};
  if (::fstat(output.file.get(), &facts) != 0 ||
      ::fcntl(output.file.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) != 0)
    return no_sandbox(std::string("the output can't be sealed: ") + std::strerror(errno));
  output.size = static_cast<std::uint64_t>(facts.st_size);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ)
    return failed(fmt::format("it has more than {} bytes", bounds.output_bytes));
  if (WIFSIGNALED(status)) return failed(fmt::format("grub-fstest was ended by signal {}", WTERMSIG(status)));
  if (WEXITSTATUS(status) != 0) return ended_with(WEXITSTATUS(status), complaint(tool->complaints()), words);
  return output;
}

}  // namespace pinfold::cli::bootloader
