// One state of the machine as a value: small, comparable byte by byte.
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>

#include "pvmmu/frame.hpp"
#include "pvmmu/pte.hpp"
#include "size.hpp"

namespace pinfold::pvmmu::search {

/// Something is wrong in the state that was reached, or in the step that led there.
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

/// One frame's record, its contents while they matter, and how far its check or release has come.
struct FrameImage {
  std::uint8_t owner = 0;            ///< The domain's number (1 or 2); 0: free.
  FrameType type = FrameType::none;  ///< None also for writable data that nobody relies on.
  bool pinned : 1 = false;
  bool validated : 1 = false;
  bool partial : 1 = false;
  bool allocated : 1 = false;
  bool special : 1 = false;
  bool mirrored : 1 = false;
  bool interrupted : 1 = false;
  bool seen : 1 = false;       ///< A processor may know the mirror of a table that ends.
  std::uint8_t release = 0;    ///< Place among the tables that end, the outermost is 1; 0: it does not end.
  std::uint16_t position = 0;  ///< Entries below it hold references, in a table that is interrupted or ends.
  std::uint16_t refs = 0, types = 0;
  /// Of a table, the guest's entries; of a descriptor page, 0 or 1 for an empty or a present descriptor.
  std::array<EntryCode, 2> guest{};
  /// The mirror's entries. The frame number is 1 when the entry leads where the guest's entry does.
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

/// How many of the slots in use lie below a position. Positions between the same two slots are one: the
/// entries between them are empty, and what is left to be done is the same.
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

/// For people; a line a frame.
[[nodiscard]] std::string describe(const State& state, std::uint64_t frames);

}  // namespace pinfold::pvmmu::search
