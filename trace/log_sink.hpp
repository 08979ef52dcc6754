// From the validator to a log: events become blocks on the vCPU's way, and a thread of its own takes the
// blocks from there.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <tl/expected.hpp>

#include "pvmmu/trace.hpp"
#include "trace/event_code.hpp"

namespace pinfold::trace {

/// Where a log goes. Called by the sink's thread alone.
class LogOutput {
 public:
  virtual ~LogOutput() = default;
  /// The log's begin. False: it can't go on; so for block().
  [[nodiscard]] virtual bool begin(const LogHeader& header) = 0;
  /// A whole block, its header included.
  [[nodiscard]] virtual bool block(std::span<const std::byte> bytes) = 0;
  /// Why it can't go on.
  [[nodiscard]] virtual std::string failure() const { return {}; }
};

/// A file, which holds whole blocks only, whatever happens.
[[nodiscard]] tl::expected<std::unique_ptr<LogOutput>, std::string> file_output(
    const std::filesystem::path& file);

/// Makes a log of what it is told. Nothing is dropped: when the output can't keep up, the guest waits. When
/// the output fails, that is told once, and what comes then is only counted.
class LogSink final : public pvmmu::TraceSink {
 public:
  struct Options {
    std::uint32_t vcpus = 1;
    /// What has been told is in the output after this long, also when it is less than a block.
    std::chrono::milliseconds flush_after{200};
    /// Called once, by the sink's thread, when the output can't go on.
    std::function<void(const std::string& why)> on_failure;
  };
  struct Account {
    std::uint64_t events = 0;  ///< In the log.
    std::uint64_t bytes = 0;   ///< Of the log.
    std::uint64_t lost = 0;    ///< Events that came after the output failed, or were on their way to it.
    std::string failure;       ///< Empty: none.
  };

  LogSink(std::unique_ptr<LogOutput> output, Options options);
  ~LogSink() override;
  LogSink(const LogSink&) = delete;
  LogSink& operator=(const LogSink&) = delete;

  void started(const pvmmu::ValidatorParts& parts) override;
  void operation_begins() override;
  void event(const pvmmu::TraceEvent& event) override;
  void vcpu_entered(VcpuId vcpu, GuestVaddr ip, std::uint64_t cause) override;

  /// Writes what is left. What is told later is lost.
  Account close();

 private:
  struct Block {
    BlockHeader header;
    std::vector<std::byte> payload;
  };
  struct Entered {
    std::uint64_t time = 0;
    pvmmu::TraceEvent event;
    bool told = true;      ///< In the log, anywhere.
    bool in_block = true;  ///< In the block that is being filled, or before the first vCPU.
  };

  void append(const pvmmu::TraceEvent& event, std::uint64_t time, std::uint64_t cost);
  void finish_block(std::unique_lock<std::mutex>& lock, bool wait);
  void work();

  std::unique_ptr<LogOutput> output_;
  Options options_;
  std::uint64_t epoch_;  ///< The processor's ticks at tick 0 of the log.
  LogHeader header_;

  std::mutex mutex_;  ///< Guards what follows. A leaf.
  std::condition_variable filled_, emptied_;
  EventCoder coder_;
  Block block_;  ///< That is being filled.
  std::uint64_t events_ = 0, last_time_ = 0;
  std::uint64_t begun_ = 0, excluded_ = 0;  ///< Of the operation under way.
  /// The last event was told within an operation, whose own is still to come.
  bool within_operation_ = false;
  Entered entered_;
  std::deque<Block> queue_;
  bool closing_ = false, failed_ = false;
  Account account_;
  std::thread thread_;
};

}  // namespace pinfold::trace
