// Disks that a running guest gets when their servers have answered.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <tl/expected.hpp>

#include "devices/block/disk.hpp"
#include "devices/block/nbd_image.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli {

/// A disk whose image an NBD server has.
struct ServedDisk {
  devices::block::DiskNodes nodes;
  vmm::Fd socket;  ///< Connected to the server.
  vmm::Fd tie;     ///< Closed with the image.
  devices::block::NbdImageOptions options;
};

/// Asks servers what they serve, on a thread of its own: a server may take its time, and those who attach and
/// detach other devices do not wait for it. A server has `patience` for its answers.
///
/// Concurrency: any thread.
class Arrivals {
 public:
  using Image = std::shared_ptr<devices::block::Image>;
  /// Gives the guest a disk. An error is one line.
  using Attach = std::function<tl::expected<void, std::string>(devices::block::DiskNodes nodes, Image image)>;

  static constexpr std::chrono::seconds patience{10};
  static constexpr std::size_t most = 8;  ///< That wait at a time.

  /// Starts the thread. It calls `attach`, until stop().
  explicit Arrivals(Attach attach);
  ~Arrivals() { stop(); }
  Arrivals(const Arrivals&) = delete;
  Arrivals& operator=(const Arrivals&) = delete;

  /// An error is one line: the number is that of a disk that comes already, or too many come.
  [[nodiscard]] tl::expected<void, std::string> add(ServedDisk disk);

  /// What became of a disk. Neither: it was attached, or never added.
  struct Outcome {
    bool coming = false;
    std::optional<std::string> failure;  ///< In one line: why the last one of this number did not come.
  };
  [[nodiscard]] Outcome of(std::uint32_t number) const;

  /// Those that are on their way do not come. Returns when `attach` is not called any more.
  void stop();

 private:
  void run();
  [[nodiscard]] tl::expected<void, std::string> take_in(ServedDisk disk);

  Attach attach_;
  std::shared_ptr<std::atomic<bool>> given_up_ = std::make_shared<std::atomic<bool>>(false);
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<ServedDisk> waiting_;                 ///< Guarded by the mutex, as the next three.
  std::optional<std::uint32_t> asked_;             ///< The disk whose server is being asked.
  std::map<std::uint32_t, std::string> failures_;  ///< At most `most_failures`.
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace pinfold::cli
