// A log while it is written: sinks of domains leave events in a ring, and a thread of the log's own makes
// blocks of what is there, and writes them.
#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <tl/expected.hpp>

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

/// A log of one machine, whose domains have a LogSink each. No event is dropped: when the output can't keep
/// up, the guests wait. When the output fails, `on_failure` is called once, and later events are only
/// counted.
///
/// The order of events is that of the operations: while an operation of one domain is under way, those of the
/// others wait for their turn. So whatever an operation read or changed of what domains have in common, the
/// events before it in the log account for it (docs/decisions/log-of-a-machine.md).
class Log {
 public:
  struct Options {
    /// An event is in the output after this time at most, even if its block is not full.
    std::chrono::milliseconds flush_after{200};
    /// Called once, by the log's thread, when the output can't go on.
    std::function<void(const std::string& why)> on_failure;
  };
  struct Account {
    std::uint64_t events = 0;  ///< In the log.
    std::uint64_t bytes = 0;   ///< Of the log.
    std::uint64_t lost = 0;    ///< Events that came after the output failed, or were on their way to it.
    std::string failure;       ///< Empty: none.
  };

  Log(std::unique_ptr<LogOutput> output, Options options);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  /// The processor's ticks, in the log's unit.
  [[nodiscard]] static std::uint64_t ticks_now();

  // -- by sinks. `Turn` is the proof that no other domain records anything meanwhile.

  using Turn = std::unique_lock<std::mutex>;
  /// A turn that is not taken yet.
  [[nodiscard]] Turn turn() { return Turn(turn_, std::defer_lock); }
  /// The first domain makes the log's header and its thread.
  void begin_domain(const Turn&, LogHeader domain);
  void put(const Turn&, DomId domain, const pvmmu::TraceEvent& event, std::uint64_t time, std::uint64_t cost);

  /// Writes what is left. Later events are lost.
  Account close();

 private:
  /// A domain that has events in the log.
  struct Source {
    std::optional<ToldEvent> at_vcpu;  ///< Its last `entered`.
    std::uint64_t block = 0;           ///< The last block that has events of it, counted from 1.
  };

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
  LogHeader header_;     ///< Complete before the thread is made.
  EventRing ring_;
  std::mutex turn_;  ///< Taken under a domain's lock; only a wait for room in the ring is below it.
  std::thread thread_;
  std::atomic<bool> closed_ = false;
  std::uint64_t lost_after_close_ = 0;  ///< Guarded by turn_.

  // -- of the log's thread; of close() after that
  EventCoder coder_;
  BlockHeader block_;  ///< That is being filled.
  std::vector<std::byte> payload_;
  std::uint64_t events_ = 0, blocks_ = 0, last_time_ = 0;
  /// The last event belongs to an operation whose own event is still to come, or names the vCPU of the events
  /// that follow.
  bool more_belongs_to_it_ = false;
  std::map<std::uint16_t, Source> sources_;  ///< By domain.
  bool failed_ = false;
  Account account_;
};

}  // namespace pinfold::trace
