// From the validator to a log: a vCPU's thread leaves each event in a ring, and a thread of the log's own
// makes blocks of what is there, and writes them.
#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <tl/expected.hpp>

#include "pvmmu/trace.hpp"
#include "trace/event_code.hpp"
#include "trace/event_ring.hpp"

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

/// A file, which holds whole blocks only, whatever happens. What it had before goes when the log begins.
[[nodiscard]] tl::expected<std::unique_ptr<LogOutput>, std::string> file_output(
    const std::filesystem::path& file);

/// Makes a log of the events that it receives. None is dropped: when the output can't keep up, the guest
/// waits. When the output fails, `on_failure` is called once, and later events are only counted. The caller
/// of event() holds the domain's lock, or is the only thread that could take it.
class LogSink final : public pvmmu::TraceSink {
 public:
  struct Options {
    std::uint32_t vcpus = 1;
    /// An event is in the output after this time at most, even if its block is not full.
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

  /// Writes what is left. Later events are lost.
  Account close();

 private:
  // -- of the thread that records events
  void put(const pvmmu::TraceEvent& event, std::uint64_t time, std::uint64_t cost);

  // -- of the log's thread
  void work();
  void append(const ToldEvent& told);
  void begin_block(std::uint64_t time);
  void finish_block();
  void encode_next(const pvmmu::TraceEvent& event, std::uint64_t cost);
  void fail(std::uint64_t events);

  std::unique_ptr<LogOutput> output_;
  Options options_;
  std::uint64_t epoch_;  ///< The processor's ticks at tick 0 of the log.
  LogHeader header_;
  EventRing ring_;
  std::thread thread_;

  // -- of the thread that records events
  std::uint64_t begun_ = 0, excluded_ = 0;  ///< Of the operation under way.
  std::uint64_t entered_time_ = 0;
  pvmmu::TraceEvent entered_;
  bool entered_told_ = true;
  std::atomic<bool> closed_ = false;
  std::uint64_t lost_after_close_ = 0;

  // -- of the log's thread; of close() after that
  EventCoder coder_;
  BlockHeader block_;  ///< That is being filled.
  std::vector<std::byte> payload_;
  std::uint64_t events_ = 0, last_time_ = 0;
  /// The last event belongs to an operation whose own event is still to come, or names the vCPU of the events
  /// that follow.
  bool more_belongs_to_it_ = false;
  std::optional<ToldEvent> at_vcpu_;  ///< The last `entered`.
  bool failed_ = false;
  Account account_;
};

}  // namespace pinfold::trace
