// How large a machine is searched, and what is tried in it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace pinfold::pvmmu::search {

/// The slots of each table that are in use. Both are the guest's in an L4. All others stay empty.
inline constexpr std::array<std::size_t, 2> slots{0, 1};
/// Frames of the largest machine, frame 0 among them, which nobody can own.
inline constexpr std::size_t most_frames = 7;
inline constexpr std::size_t domains = 2;

/// What the second domain does. The first one does everything.
enum class Second : std::uint8_t {
  nothing,  ///< It owns no frame.
  little,   ///< It allocates a frame and frees it, pins it as an empty L1 and lets go of it.
  all,      ///< The same as the first; states that differ by the domains' names are one.
};

/// Only what is named is there.
struct Size {
  std::uint64_t frames = 3;      ///< That can be owned; at most 6.
  std::uint64_t first_has = 3;   ///< The first domain owns at most this many.
  std::uint64_t second_has = 1;  ///< The second one's limit.
  Second second = Second::nothing;
  std::uint64_t mirrors = 16;     ///< A domain's: fewer than it has tables make checks fail.
  bool two_leaves = false;        ///< Both slots of an L1 are in use; else the second is for refusals.
  bool clean = false;             ///< Writable mappings that are not dirty yet.
  bool read_only_tables = false;  ///< Entries of upper levels without RW.
  bool writable_holds = false;    ///< The monitor holds a frame as plain data (vcpu_info, a ring).
  bool descriptor_holds = false;  ///< Descriptor tables are in use.
  bool user_root = false;         ///< A second root register.
  bool special = false;           ///< Pages of the monitor's own.
  bool host_refuses = false;      ///< The view fails to protect, or to revoke, a frame.
  bool pieces = true;             ///< Budgets of one entry.
};

/// Those that have a name; docs/threat-model.md says how many states they have.
[[nodiscard]] const std::map<std::string, Size>& sizes();

}  // namespace pinfold::pvmmu::search
