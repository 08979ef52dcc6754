// The log's frame: its header and its blocks' headers (docs/trace-format.md).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "pvmmu/frame_table.hpp"
#include "pvmmu/pte.hpp"
#include "pvmmu/trace.hpp"

namespace pinfold::trace {

/// Of the logs that are written. Readers take version 1, too, which knows one domain.
inline constexpr std::uint32_t format_version = 2, oldest_version = 1;
inline constexpr std::array<char, 8> log_magic{'P', 'F', 'M', 'M', 'U', 'L', 'O', 'G'};
inline constexpr std::uint32_t block_magic = 0x42544650;  // "PFTB"
inline constexpr std::size_t log_header_bytes = 256;
inline constexpr std::size_t block_header_bytes = 32;
inline constexpr std::uint32_t most_payload = 16U << 20;  ///< Of a block, in bytes.
inline constexpr std::uint64_t most_frames = 1ULL << 26;  ///< Of a machine whose log is read: 256 GiB.
inline constexpr std::uint32_t most_vcpus = 4096;         ///< Of its domain.

/// What is wrong with a log, and how many bytes from its begin (of the log itself, if it is compressed).
struct LogError {
  std::uint64_t offset = 0;
  std::string message;
  [[nodiscard]] std::string describe() const;
};
template <class T>
using LogResult = tl::expected<T, LogError>;

/// What a log is about: all that a fresh validator needs to be what the recorded one of the log's first
/// domain was.
struct LogHeader {
  std::uint32_t version = format_version;
  std::uint64_t ticks_per_second = 1'000'000'000;
  std::uint64_t started_ns = 0;  ///< Wall clock at tick 0 of the log, nanoseconds since 1970.
  DomId domain{1};
  std::uint32_t vcpus = 1;
  std::uint64_t machine_frames = 0;  ///< When the domain began.
  std::uint64_t most_frames = 0;     ///< That the machine can grow to; 0 if it can't.
  std::uint64_t max_frames = 0;      ///< The domain's limit.
  std::uint64_t mirror_pages = 0;    ///< Page 0 counted, which is none.
  Mfn mirrors_at = no_mfn;           ///< The frame number of mirror page 0 in the processor's physical space.
  std::uint64_t machphys_slot = 0;
  std::uint64_t most_windows = 0;  ///< Of linear page tables, which are refused if it is 0.
  std::array<pvmmu::Pte, pvmmu::xen_slots> l4_xen_slots{};
  pvmmu::FrameTable::Range withheld{};  ///< Frames of the machine that no domain gets.

  [[nodiscard]] double nanoseconds(std::uint64_t ticks) const {
    return static_cast<double>(ticks) * 1e9 / static_cast<double>(ticks_per_second);
  }
};

/// Of a domain that begins later: words of the event `domain_begins`, and back.
inline constexpr std::size_t domain_words = 6 + pvmmu::xen_slots;
[[nodiscard]] std::array<std::uint64_t, domain_words> words_of(const LogHeader& domain);
/// The header as it would be if the log began with that domain; nullopt: there can be no such domain.
[[nodiscard]] std::optional<LogHeader> header_of_domain(const LogHeader& log, DomId domain,
                                                        std::span<const std::uint64_t> words);

struct BlockHeader {
  std::uint32_t payload = 0;  ///< Bytes that follow.
  std::uint32_t events = 0;
  std::uint64_t first = 0;  ///< Number of its first event, from 0 up.
  std::uint64_t time = 0;   ///< In ticks; its events' times count from here.
  std::uint32_t checksum = 0;
};

[[nodiscard]] std::vector<std::byte> encode(const LogHeader& header);
/// `bytes`: log_header_bytes.
[[nodiscard]] LogResult<LogHeader> decode_log_header(std::span<const std::byte> bytes);

/// A whole block. `header.payload` and `checksum` are filled in.
[[nodiscard]] std::vector<std::byte> encode_block(BlockHeader header, std::span<const std::byte> payload);
/// `bytes`: block_header_bytes; nullopt: not one.
[[nodiscard]] std::optional<BlockHeader> decode_block_header(std::span<const std::byte> bytes);
[[nodiscard]] std::uint32_t checksum_of(std::span<const std::byte> header,
                                        std::span<const std::byte> payload);

/// An event of a log: what the validator recorded, when, and for which vCPU.
struct LogEvent : pvmmu::TraceEvent {
  std::uint64_t number = 0;  ///< From 0 up.
  std::uint64_t time = 0;    ///< Ticks since the log's begin, when the operation began.
  std::uint64_t cost = 0;    ///< Ticks that the operation took.
  bool of_several = false;   ///< Another domain than the log's first has begun.
  VcpuId vcpu;               ///< That made the request. Before the first `entered`: the domain's builder.
  bool by_vcpu = false;      ///< False: the domain's builder.
  GuestVaddr ip;             ///< Where its code was.
  std::uint64_t cause = pvmmu::cause_other;
};

/// What the event is about, if nothing else is said: the frame that the entry names, or else the one that it
/// named.
[[nodiscard]] constexpr Mfn named_frame(pvmmu::Pte now, pvmmu::Pte old) {
  return now.present() ? now.mfn() : old.present() ? old.mfn() : no_mfn;
}

}  // namespace pinfold::trace
