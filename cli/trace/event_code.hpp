// Events as bytes and back. What coder and decoder remember between events of one block is the same, so that
// only differences are written.
#pragma once

#include <map>
#include <vector>

#include "trace/bytes.hpp"
#include "trace/format.hpp"

namespace pinfold::trace {

/// Who asked for the events that follow: what the last `entered` of their domain said.
struct Caller {
  std::uint32_t vcpu = 0;
  std::uint64_t ip = 0, cause = pvmmu::cause_other;
  bool by_vcpu = false;
};

/// What is known from the block's earlier events, to either side.
struct CodeState {
  static constexpr std::size_t most_flags = 120, most_ips = 120;
  std::uint64_t time = 0;
  Mfn table{0}, frame{0}, root{0};
  std::uint16_t slot = 0;
  DomId domain;
  Caller caller;                            ///< Of that domain.
  std::map<std::uint16_t, Caller> callers;  ///< Of the others.
  std::uint64_t ip = 0;                     ///< The last one that was written.
  std::uint64_t budget = 0;
  std::array<std::uint64_t, pvmmu::trace_kinds> argument{};  ///< By kind.
  std::vector<std::uint32_t> flags;                          ///< Of entries, in the order of appearance.
  std::vector<std::uint64_t> ips;

  void turn_to(DomId next) {
    if (next == domain) return;
    callers[domain.raw()] = caller;
    domain = next;
    caller = callers[domain.raw()];
  }
};

/// Appends events to the payload of a block.
class EventCoder {
 public:
  /// The next event begins a block; its time is `time`. `domain`: the log's first.
  void begin_block(std::uint64_t time, DomId domain = {});
  /// `time` is not before the last event's.
  void append(std::vector<std::byte>& to, const pvmmu::TraceEvent& event, std::uint64_t time,
              std::uint64_t cost);

 private:
  void entry(ByteWriter& to, pvmmu::Pte entry);
  void frame(ByteWriter& to, Mfn mfn);
  void entered(ByteWriter& to, const pvmmu::TraceEvent& event);
  void refusal(ByteWriter& to, const pvmmu::Refusal& refusal);
  void contents(ByteWriter& to, std::span<const std::uint64_t> words);
  CodeState state_;
};

/// Takes a block's events apart.
class EventDecoder {
 public:
  /// `payload` lives until the last event was read.
  void begin_block(std::span<const std::byte> payload, std::uint64_t time, DomId domain = {});
  [[nodiscard]] bool at_end() const { return from_.at_end(); }
  /// The next event, its number aside; false: this is none, at `offset()` in the payload. The event's spans
  /// are good until the next call.
  [[nodiscard]] bool next(LogEvent& event);
  [[nodiscard]] std::size_t offset() const { return from_.offset(); }

 private:
  pvmmu::Pte entry();
  Mfn frame();
  void counts(LogEvent& event);
  void refusal(LogEvent& event);
  void entered(LogEvent& event, bool other_vcpu);
  void contents();
  void grant(LogEvent& event);
  void domain_words();
  void digests();

  ByteReader from_{{}};
  CodeState state_;
  std::vector<std::uint64_t> contents_;
  std::vector<std::uint32_t> digests_;
};

}  // namespace pinfold::trace
