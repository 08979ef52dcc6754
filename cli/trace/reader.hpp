// Reads a log event by event. The log is untrusted input.
#pragma once

#include <memory>
#include <vector>

#include "trace/allowance.hpp"
#include "trace/byte_source.hpp"
#include "trace/event_code.hpp"
#include "trace/format.hpp"

namespace pinfold::trace {

/// A log from its begin to its end, or to where it is damaged: what precedes the damage has been given out by
/// then. Nothing in a log can make it do anything but return. An event that asks for more work on frames than
/// a log of that length may (Allowance) is damage.
///
///     auto log = LogReader::open("boot.log");
///     while (log->next() == LogReader::Step::event) use(log->event());
///
/// One thread at a time.
class LogReader {
 public:
  enum class Step : std::uint8_t {
    event,  ///< event() is the next one.
    end,  ///< The log is over: it was closed, or its writer has not come further; next() may be asked again.
    cut_off,  ///< The same, within a block: error() says where.
    damaged,  ///< There is nothing to be read any more; error() says where and why.
  };

  /// The error's offset is 0 if the file can't be opened.
  [[nodiscard]] static LogResult<LogReader> open(const std::filesystem::path& file);
  [[nodiscard]] static LogResult<LogReader> from(std::unique_ptr<ByteSource> source);
  /// Of bytes, for tests; they outlive the reader.
  [[nodiscard]] static LogResult<LogReader> from(std::span<const std::byte> bytes);

  /// From here on events may ask for any work: for readers to whom all events cost the same.
  void allow_all() { bounded_ = false; }
  [[nodiscard]] const LogHeader& header() const { return header_; }
  [[nodiscard]] Step next();
  /// Good until the next next().
  [[nodiscard]] const LogEvent& event() const { return event_; }
  [[nodiscard]] const LogError& error() const { return error_; }
  /// Where the block of the last event ends: bytes that have been used.
  [[nodiscard]] std::uint64_t offset() const { return offset_; }

 private:
  explicit LogReader(std::unique_ptr<ByteSource> source) : source_(std::move(source)) {}
  [[nodiscard]] bool buffered(std::size_t count);
  [[nodiscard]] Step next_block();
  Step stop(std::uint64_t offset, std::string message);

  std::unique_ptr<ByteSource> source_;
  LogHeader header_;
  std::vector<std::byte> buffer_;  ///< From offset_ on: not used yet.
  std::vector<std::byte> block_;   ///< With its header.
  std::uint64_t offset_ = 0;
  std::uint64_t block_at_ = 0;
  std::uint64_t number_ = 0;  ///< Of the next event.
  std::uint64_t left_ = 0;    ///< Events of the block that are still to come.
  bool damaged_ = false;
  bool several_ = false;  ///< Another domain has begun.
  bool bounded_ = true;
  Allowance allowance_;
  EventDecoder decoder_;
  LogEvent event_;
  LogError error_;
};

}  // namespace pinfold::trace
