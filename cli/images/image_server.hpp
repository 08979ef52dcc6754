// qemu-nbd, confined: it serves one disk to a guest's monitor.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/config/disk_config.hpp"
#include "cli/images/image_files.hpp"
#include "cli/tools/tool.hpp"
#include "sandbox/policy.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli::images {

/// It has the files of its disk, and can open nothing else. It ends when this process does, or when its
/// sockets are closed.
///
/// Concurrency: used by one thread, in a process that has no others.
class ImageServer {
 public:
  /// Looks at the disk's files, then serves them, when they are open and locked. `connections`: how many
  /// sockets there are to be. An error is one line without the disk's name.
  [[nodiscard]] static tl::expected<ImageServer, std::string> start(const DiskConfig& disk,
                                                                    const std::vector<std::string>& named,
                                                                    std::size_t connections,
                                                                    const std::optional<sandbox::User>& user);
  ImageServer(ImageServer&&) noexcept = default;
  ImageServer& operator=(ImageServer&&) = delete;
  /// Has it end, and waits until all that was written is in the image; half a minute after it was asked,
  /// kills it.
  ~ImageServer();

  /// Has it end, and does not wait. ended() says when it has.
  void ask_to_end();
  /// Until when the destructor waits, at most; after ask_to_end().
  [[nodiscard]] tools::ConfinedTool::Clock::time_point deadline() const { return *deadline_; }

  /// For the monitor.
  [[nodiscard]] std::vector<vmm::Fd> take_sockets() { return std::move(sockets_); }
  /// How it ended.
  struct End {
    std::string how;
    bool was_killed;
    bool ended_well;  ///< As when nobody has a connection to it any more.
  };
  /// Has it ended? Only the first time.
  [[nodiscard]] std::optional<End> ended();

 private:
  explicit ImageServer(tools::ConfinedTool process) : process_(std::move(process)) {}
  tools::ConfinedTool process_;
  std::vector<vmm::Fd> sockets_;
  std::optional<tools::ConfinedTool::Clock::time_point> deadline_;
};

/// Its command line.
[[nodiscard]] std::vector<std::string> server_words(const DiskConfig& disk, const ImageFile& image,
                                                    std::size_t connections);

}  // namespace pinfold::cli::images
