// The servers of a guest's disks, for one life of the guest.
#pragma once

#include <list>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "cli/images/descriptors.hpp"
#include "cli/images/image_server.hpp"
#include "cli/networks/helper_watch.hpp"
#include "cli/run/run_options.hpp"

namespace pinfold::cli {

/// Made by a supervisor before it starts the monitor, and ended after it. Raw images have none. Destroyed, it
/// waits for all of them at once (ImageServer).
///
/// Concurrency: used by one thread, in a process that has no others.
class ImageServers {
 public:
  /// An error is one line that names the disk and says what to do.
  [[nodiscard]] static tl::expected<ImageServers, std::string> open(const RunOptions& options);

  ImageServers(ImageServers&&) noexcept = default;
  ImageServers& operator=(ImageServers&&) = delete;
  ~ImageServers() { ask_to_end(); }

  /// For the monitor. The supervisor then drops its copies, because servers end when all copies are closed.
  [[nodiscard]] const DiskSockets& sockets() const { return sockets_; }
  void drop_sockets() { sockets_.clear(); }
  /// For this process itself.
  [[nodiscard]] DiskSockets take_sockets() { return std::move(sockets_); }
  /// About servers that have ended since the last call.
  [[nodiscard]] std::vector<HelperTrouble> troubles();
  /// Has all of them end, and does not wait.
  void ask_to_end();
  /// After ask_to_end(): until when the destructor waits, at most; nullopt: all have ended.
  [[nodiscard]] std::optional<tools::ConfinedTool::Clock::time_point> deadline();

 private:
  ImageServers() = default;
  DiskSockets sockets_;
  struct Server {
    std::string disk;  ///< Its name.
    images::ImageServer process;
    std::shared_ptr<const DeviceTie> device;
  };
  std::list<Server> servers_;
};

/// Whether a disk's image is read through a server: it is not raw, or on another machine.
[[nodiscard]] bool has_server(const DiskConfig& disk);

/// "xvda (/srv/web.qcow2)"
[[nodiscard]] std::string name_of(const DiskConfig& disk);

}  // namespace pinfold::cli
