// The size of the machine that is searched, and what is tried in it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace pinfold::pvmmu::search {

/// The slots of each table that are in use. In an L4 both are the guest's. All other slots stay empty.
inline constexpr std::array<std::size_t, 2> slots{0, 1};
/// Frames of the largest machine, frame 0 among them, which nobody can own.
inline constexpr std::size_t most_frames = 7;
inline constexpr std::size_t domains = 2;

/// What the second domain does. The first one does everything.
enum class Second : std::uint8_t {
  nothing,  ///< It owns no frame.
  little,   ///< It allocates a frame and frees it, pins it as an empty L1 and unpins it.
  all,      ///< The same as the first. States that differ only in the domains' names are the same.
};

/// Only features that are named here are used.
struct Size {
  std::uint64_t frames = 3;      ///< Frames that can be owned; at most 6.
  std::uint64_t first_has = 3;   ///< The first domain owns at most this many.
  std::uint64_t second_has = 1;  ///< The second one's limit.
  Second second = Second::nothing;
  std::uint64_t mirrors = 16;  ///< For each domain. If it has more tables than that, checks fail.
  bool two_leaves = false;  ///< Both slots of an L1 are in use; if not, the second one is only for refusals.
  bool clean = false;       ///< There are writable mappings that are not dirty yet.
  bool read_only_tables = false;  ///< There are entries of upper levels without RW.
  bool writable_holds = false;    ///< The monitor holds a frame as plain data (vcpu_info, a ring).
  bool descriptor_holds = false;  ///< Descriptor tables are in use.
  bool user_root = false;         ///< A second root register.
  bool special = false;           ///< There are pages of the monitor's own.
  bool host_refuses = false;      ///< The view fails to protect, or to revoke, a frame.
  bool pieces = true;             ///< Budgets of one entry are tried.
};

/// The sizes that have a name; docs/threat-model.md says how many states each has.
[[nodiscard]] const std::map<std::string, Size>& sizes();

}  // namespace pinfold::pvmmu::search
