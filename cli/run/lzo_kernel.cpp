#include "cli/run/lzo_kernel.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <string>
#include <utility>

#include "cli/tools/tool.hpp"
#include "loader/load_error.hpp"
#include "loader/unpack.hpp"

namespace pinfold::cli {
namespace {

using loader::Buffer;
using loader::Loaded;
using loader::refuse;
using loader::UnpackedKernel;
using tools::ConfinedTool;

constexpr unsigned most_seconds = 300;  // as for the other packings (unpack_child.cpp)

/// A file that has the bytes, at its start.
Loaded<vmm::Fd> file_of(std::span<const std::byte> bytes) {
  vmm::Fd file(::memfd_create("pinfold-lzo", MFD_CLOEXEC));
  while (file.open() && !bytes.empty()) {
    const ssize_t n = ::write(file.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return refuse(std::string("no memory for its payload: ") + std::strerror(errno));
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  if (!file.open() || ::lseek(file.get(), 0, SEEK_SET) != 0)
    return refuse(std::string("no memory for its payload: ") + std::strerror(errno));
  return file;
}

/// The first line of lzop's, without its name.
std::string complaint(const ConfinedTool& lzop) {
  std::string text = tools::text_of(lzop.complaints(), 500);
  text = text.substr(0, text.find('\n'));
  for (const std::string_view start : {"lzop: ", "<stdin>: "})
    if (text.starts_with(start)) text.erase(0, start.size());
  return loader::printable(text, 200);
}

/// What it wrote, copied: nobody can change it while it is parsed.
Loaded<Buffer> contents_of(const vmm::Fd& output) {
  struct stat facts {};
  if (::fstat(output.get(), &facts) != 0) return refuse(std::strerror(errno));
  if (facts.st_size == 0) return refuse("lzo payload: nothing is in it");
  auto buffer = Buffer::reserve(static_cast<std::size_t>(facts.st_size));
  if (!buffer) return buffer;
  for (auto rest = buffer->writable(); !rest.empty();) {
    const ssize_t n = ::pread(output.get(), rest.data(), rest.size(),
                              static_cast<off_t>(buffer->bytes().size() - rest.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return refuse("what lzop wrote is not there any more");
    rest = rest.subspan(static_cast<std::size_t>(n));
  }
  return buffer;
}

Loaded<Buffer> unpack(std::span<const std::byte> stream) {
  auto input = file_of(stream);
  if (!input) return tl::unexpected(input.error());
  tools::ToolPlan plan;
  plan.name = "lzop";
  plan.words = {"--decompress", "--stdout"};
  plan.bounds = {loader::max_unpacked_bytes, most_seconds};
  plan.opener = [](const std::string&, int) { return tl::unexpected(ENOENT); };
  plan.input = input->get();
  auto lzop = ConfinedTool::start(std::move(plan));
  if (!lzop && lzop.error().is_missing)
    return refuse("compressed with lzo, which takes lzop to unpack (`apt-get install lzop`)");
  const auto unconfined = [](const std::string& why) {
    return refuse("compressed with lzo, and lzop can't be confined here: " + why);
  };
  if (!lzop) return unconfined(lzop.error().message);
  const auto served = lzop->serve(-1, ConfinedTool::Clock::now() + std::chrono::seconds(most_seconds));
  if (!served) return unconfined(served.error());
  if (*served == ConfinedTool::Served::late) return refuse("lzo payload: it takes too long to unpack");
  const int status = lzop->wait(1000).value_or(SIGKILL);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ)
    return refuse(fmt::format("lzo payload: unpacks to more than {} bytes", loader::max_unpacked_bytes));
  if (WIFSIGNALED(status))
    return refuse(fmt::format("lzo payload: lzop was ended by signal {}", WTERMSIG(status)));
  if (WEXITSTATUS(status) != 0) return refuse("lzo payload: " + complaint(*lzop));
  return contents_of(lzop->output());
}

}  // namespace

Loaded<UnpackedKernel> unpack_with_lzop(std::span<const std::byte> file, const UnpackedKernel& kernel,
                                        const loader::Progress& progress) {
  if (kernel.offset > file.size() || kernel.size > file.size() - kernel.offset)
    return refuse("not a kernel: its payload lies outside of it");
  constexpr const char* what = "unpacking (lzo)";
  loader::report(progress, what, 0);
  auto bytes = unpack(file.subspan(kernel.offset, kernel.size));
  if (!bytes) return tl::unexpected(bytes.error());
  const std::size_t size = bytes->bytes().size();
  if (const auto said = kernel.lzo->unpacked_size; said && *said != static_cast<std::uint32_t>(size))
    return refuse(
        fmt::format("bzImage is damaged: its payload unpacks to {} bytes instead of {}", size, *said));
  loader::report(progress, what, 1);
  return UnpackedKernel{0, 0, std::move(*bytes), true, {}};
}

}  // namespace pinfold::cli
