// One state of the machine as a value: small, comparable byte by byte.
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>

#include "pvmmu/frame.hpp"
#include "pvmmu/pte.hpp"
#include "size.hpp"

namespace pinfold::pvmmu::search {

/// An error in a state that was reached, or in the step that led there.
class Finding : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A page-table entry in 16 bits: the flags that the search meets, and a frame's number from 0 to 7. Throws
/// Finding for any other entry.
using EntryCode = std::uint16_t;
[[nodiscard]] EntryCode encode(Pte entry);
[[nodiscard]] Pte decode(EntryCode code);
[[nodiscard]] constexpr std::size_t frame_in(EntryCode code) { return code >> 12 & 7; }
[[nodiscard]] constexpr EntryCode with_frame(EntryCode code, std::size_t frame) {
  return static_cast<EntryCode>((code & 0x8fff) | frame << 12);
}

/// The record of a frame, its contents if they matter, and the progress of its check or release.
struct FrameImage {
  std::uint8_t owner = 0;            ///< The domain's number (1 or 2); 0: free.
  FrameType type = FrameType::none;  ///< Also `none` for writable data that nobody relies on.
  bool pinned : 1 = false;
  bool validated : 1 = false;
  bool partial : 1 = false;
  bool allocated : 1 = false;
  bool special : 1 = false;
  bool mirrored : 1 = false;
  bool interrupted : 1 = false;
  bool seen : 1 = false;  ///< The table is being released, and a processor may know its mirror.
  std::uint8_t release =
      0;  ///< Its place among the tables that are being released, from the outermost, 1; 0: it is not.
  std::uint16_t position = 0;  ///< In an interrupted or released table: entries below this hold references.
  std::uint16_t refs = 0, types = 0;
  /// The guest's entries of a table; for a descriptor page, 0 is an empty descriptor and 1 a present one.
  std::array<EntryCode, 2> guest{};
  /// The mirror's entries. The frame number is 1 if the entry leads to the same place as the guest's.
  std::array<EntryCode, 2> mirror{};
};

struct DomainImage {
  std::array<std::uint8_t, 2> roots{};              ///< Kernel's and user's root register; 0: empty.
  std::uint8_t data_hold = 0, descriptor_hold = 0;  ///< Frames that the monitor holds; 0: none.
};

struct State {
  std::array<FrameImage, most_frames> frames{};
  std::array<DomainImage, domains> domain{};
};
static_assert(sizeof(FrameImage) == 18 && sizeof(State) == most_frames * 18 + domains * 4);

[[nodiscard]] inline bool same(const State& a, const State& b) {
  return std::memcmp(&a, &b, sizeof(State)) == 0;
}

/// How many of the slots in use lie below a position. Positions between the same two slots are equal: the
/// entries between them are empty, and the remaining work is the same.
[[nodiscard]] inline std::size_t slots_below(std::size_t position) {
  std::size_t below = 0;
  for (const std::size_t slot : slots) below += slot < position ? 1 : 0;
  return below;
}
/// How many entries of the frame, 0 to 2, hold references.
[[nodiscard]] inline std::size_t entries_held(const FrameImage& frame) {
  if (!is_table(frame.type)) return 0;
  return frame.validated ? slots.size() : slots_below(frame.position);
}

/// For people: one line for each frame.
[[nodiscard]] std::string describe(const State& state, std::uint64_t frames);

}  // namespace pinfold::pvmmu::search
