// The console's log: files of bounded size.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "cli/console/hub.hpp"
#include "cli/console/options.hpp"
#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// The log's files, all open from the start: the log itself, then the old ones, the newest first. To rotate
/// copies each file's content to the next older one, so nothing is opened or renamed while the guest runs
/// (docs/decisions/console-log.md).
class LogFiles {
 public:
  /// Opens or makes the files; goes on behind what the log has already. An error is one line.
  [[nodiscard]] static tl::expected<LogFiles, std::string> open(const ConsoleOptions& options);
  /// The same for files of any names, the log first; each has at most `limit` bytes.
  [[nodiscard]] static tl::expected<LogFiles, std::string> open(
      const std::vector<std::filesystem::path>& files, std::uint64_t limit);

  /// The same for files that are open.
  [[nodiscard]] static tl::expected<LogFiles, std::string> of(std::vector<vmm::Fd> files,
                                                              std::uint64_t limit);
  /// Gives the files up, to be passed on.
  [[nodiscard]] std::vector<vmm::Fd> release() { return std::move(files_); }

  /// Appends, and rotates when the log is full. How many bytes were written: fewer if the host takes no more.
  [[nodiscard]] std::size_t append(std::string_view bytes);

 private:
  LogFiles() = default;
  void rotate();

  std::vector<vmm::Fd> files_;
  std::uint64_t limit_ = 0, size_ = 0;
};

/// Writes what the guest prints to the log, on a thread of its own. If the host can't store it (a full disk),
/// output is missing in the log, which says so where it goes on; the guest does not notice.
class ConsoleLog final : ConsoleHub::Reader {
 public:
  /// `hub` outlives this.
  ConsoleLog(ConsoleHub& hub, LogFiles files);
  /// Writes what is left.
  ~ConsoleLog() override;
  ConsoleLog(const ConsoleLog&) = delete;
  ConsoleLog& operator=(const ConsoleLog&) = delete;

 private:
  void output_ready() override;
  void loop();
  /// False: there is nothing more to write.
  bool write_some();

  ConsoleHub& hub_;
  LogFiles files_;
  ConsoleHub::Place place_;
  std::uint64_t missing_ = 0;  ///< Bytes that the log has not got since its last complete write.
  bool told_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool ready_ = false, closing_ = false;
  std::thread thread_;
};

}  // namespace pinfold::cli
