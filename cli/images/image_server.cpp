#include "cli/images/image_server.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>

#include "cli/images/chain.hpp"
#include "cli/images/qemu_words.hpp"
#include "cli/networks/child.hpp"

namespace pinfold::cli::images {
namespace {

namespace fs = std::filesystem;
using tools::ConfinedTool;
using Failed = tl::unexpected<std::string>;

constexpr std::chrono::seconds time_to_end{30};
/// A large image that was not closed cleanly is checked first.
constexpr std::chrono::seconds time_to_start{60};

tl::unexpected<std::string> no_socket() { return Failed(std::string("no socket: ") + std::strerror(errno)); }

struct Sockets {
  vmm::Fd listener;
  std::vector<vmm::Fd> connected;
};

/// A folder that nobody else can enter, as long as this object exists.
class PrivateFolder {
 public:
  PrivateFolder() {
    std::error_code error;
    path_ = (fs::temp_directory_path(error) / "pinfold-XXXXXX").string();
    if (::mkdtemp(path_.data()) == nullptr) path_.clear();
  }
  PrivateFolder(const PrivateFolder&) = delete;
  PrivateFolder& operator=(const PrivateFolder&) = delete;
  ~PrivateFolder() {
    if (path_.empty()) return;
    ::unlink(socket().c_str());
    ::rmdir(path_.c_str());
  }
  [[nodiscard]] bool exists() const { return !path_.empty(); }
  [[nodiscard]] std::string socket() const { return path_ + "/s"; }

 private:
  std::string path_;
};

/// A socket that listens, and others that are connected to it. It has no name any more, so nobody else
/// connects to it.
tl::expected<Sockets, std::string> make_sockets(std::size_t count) {
  const PrivateFolder folder;
  sockaddr_un place{};
  place.sun_family = AF_UNIX;
  if (!folder.exists()) return no_socket();
  if (folder.socket().size() >= sizeof place.sun_path) return Failed(std::string("$TMPDIR is too long"));
  std::memcpy(place.sun_path, folder.socket().c_str(), folder.socket().size() + 1);
  const auto* address = static_cast<const sockaddr*>(static_cast<const void*>(&place));
  Sockets sockets;
  sockets.listener = vmm::Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!sockets.listener.open() || ::bind(sockets.listener.get(), address, sizeof place) != 0 ||
      ::listen(sockets.listener.get(), static_cast<int>(count)) != 0)
    return no_socket();
  for (std::size_t n = 0; n < count; ++n) {
    vmm::Fd& socket = sockets.connected.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket.open() || ::connect(socket.get(), address, sizeof place) != 0) return no_socket();
  }
  return sockets;
}

}  // namespace

std::vector<std::string> server_words(const DiskConfig& disk, const ImageFile& image,
                                      std::size_t connections) {
  std::vector<std::string> words{fmt::format("--shared={}", connections),
                                 disk.direct_io ? "--cache=none" : "--cache=writeback", "--aio=threads",
                                 disk.discard ? "--discard=unmap" : "--discard=ignore"};
  if (disk.read_only) words.emplace_back("--read-only");
  words.emplace_back("--image-opts");
  words.push_back(image_options(image, disk.format));
  return words;
}

tl::expected<ImageServer, std::string> ImageServer::start(const DiskConfig& disk,
                                                          const std::vector<std::string>& named,
                                                          std::size_t connections,
                                                          const std::optional<sandbox::User>& user) {
  const auto files = std::make_shared<ImageFiles>(disk.target, named);
  if (auto found = find_chain(*files, disk, user); !found) return Failed(found.error());
  auto sockets = make_sockets(connections);
  if (!sockets) return Failed(sockets.error());
  tools::ToolPlan plan;
  plan.name = "qemu-nbd";
  plan.words = server_words(disk, *files->find(fs::absolute(disk.target).string()), connections);
  plan.calls = tools::ToolCalls::serves;
  plan.bounds = {std::nullopt, std::nullopt, qemu_memory};
  plan.user = user;
  plan.listener = sockets->listener.get();
  plan.opener = [files](const std::string& name, int flags) { return files->open(name, flags); };
  auto process = ConfinedTool::start(std::move(plan));
  if (!process) return Failed(why_no_qemu(process.error()));
  sockets->listener = vmm::Fd();
  // It greets when the image is open.
  const vmm::Fd& first = sockets->connected.front();
  auto served = process->serve(first.get(), ConfinedTool::Clock::now() + time_to_start);
  // A socket whose other end is closed is readable, too.
  char byte = 0;
  if (served && *served == ConfinedTool::Served::ready &&
      ::recv(first.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 1)
    served = process->serve(-1, ConfinedTool::Clock::now() + time_to_start);
  if (!served) return Failed(why_no_qemu({false, served.error()}));
  if (*served == ConfinedTool::Served::late)
    return Failed(std::string("qemu-nbd does not begin to serve it"));
  if (*served == ConfinedTool::Served::ended) return Failed(complaint_of(*process, "qemu-nbd"));
  process->answer_no_more();
  ImageServer server(std::move(*process));
  server.sockets_ = std::move(sockets->connected);
  return server;
}

ImageServer::~ImageServer() {
  ask_to_end();
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(*deadline_ - ConfinedTool::Clock::now());
  (void)process_.wait(std::max(0, static_cast<int>(left.count())));
}

void ImageServer::ask_to_end() {
  if (deadline_) return;
  deadline_ = ConfinedTool::Clock::now() + time_to_end;
  sockets_.clear();
  process_.terminate();
}

std::optional<ImageServer::End> ImageServer::ended() {
  const auto status = process_.wait(0);
  if (!status) return std::nullopt;
  const std::string said = tools::text_of(process_.complaints(), 1);
  return End{fmt::format("its server, qemu-nbd, {}{}", how_helper_ended(*status),
                         said.empty() ? "" : " (" + complaint_of(process_, "qemu-nbd") + ")"),
             WIFSIGNALED(*status), *status == 0};
}

}  // namespace pinfold::cli::images
