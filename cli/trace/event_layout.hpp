// How an event's bytes are laid out: what coder and decoder have in common.
#pragma once

#include <bit>
#include <cstdint>

#include "trace/format.hpp"

namespace pinfold::trace::event_layout {

// What follows the first byte and the mask. The first seven are what nearly all events have.
namespace field {
inline constexpr std::uint64_t place = 1 << 0, frame = 1 << 1, now = 1 << 2, old = 1 << 3, counts = 1 << 4,
                               cost = 1 << 5, time = 1 << 6, refusal = 1 << 7, argument = 1 << 8,
                               count = 1 << 9, root = 1 << 10, budget = 1 << 11, marks = 1 << 12,
                               domain = 1 << 13, grant = 1 << 14;
inline constexpr std::uint64_t all = (1 << 15) - 1;
}  // namespace field

inline constexpr unsigned kind_bits = 5;
/// In place of a kind of this number or above: the next byte is how far above.
inline constexpr std::uint8_t kinds_in_first_byte = (1U << kind_bits) - 1;
inline constexpr std::uint8_t no_state = 7;  ///< In place of a frame's type: the frame is not the domain's.
static_assert(pvmmu::frame_types == no_state);

/// The high three bits of the first byte: a level, or a type where there is no level.
inline bool tells_type(pvmmu::TraceKind kind) {
  return kind == pvmmu::TraceKind::hold || kind == pvmmu::TraceKind::protected_frame ||
         kind == pvmmu::TraceKind::plain_frame;
}

// An entry with its frame number on top: what is below are 24 bits of flags, of which a guest uses few
// combinations.
inline constexpr unsigned flag_bits = 24;
inline constexpr std::uint64_t flag_mask = (1 << flag_bits) - 1;
inline std::uint64_t turned(pvmmu::Pte entry) { return std::rotl(entry.raw(), 12); }
inline pvmmu::Pte turned_back(std::uint64_t word) { return pvmmu::Pte(std::rotr(word, 12)); }

// Both counts' changes in one byte where they are small.
inline constexpr std::uint8_t large_change = 0xff;
inline constexpr std::uint64_t change_bias = 7;

// How a frame's contents are written: runs of words.
enum class Run : std::uint8_t {
  zeros,       ///< Nothing follows.
  ascending,   ///< The first entry follows; each is the one before it with the next frame.
  repeated,    ///< The first follows; all are the same.
  descending,  ///< As ascending, with the frame before.
};
inline constexpr unsigned run_bits = 2;
inline constexpr std::uint64_t next_frame = 1ULL << flag_bits;
inline std::uint64_t step_of(Run run) {
  return run == Run::ascending ? next_frame : run == Run::descending ? 0 - next_frame : 0;
}

}  // namespace pinfold::trace::event_layout
