// What is known about one machine frame: who owns it, what it is used as, and how many references rely on
// that.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "pvmmu/pte.hpp"
#include "pvmmu/types.hpp"

namespace pinfold::pvmmu {

/// What a frame is used as. The types exclude each other: while one is counted, the frame can't become
/// another.
enum class FrameType : std::uint8_t { none, l1, l2, l3, l4, seg_desc, writable };
inline constexpr std::size_t frame_types = 7;

[[nodiscard]] constexpr FrameType table_type(Level level) { return static_cast<FrameType>(level); }
[[nodiscard]] constexpr bool is_table(FrameType t) { return t >= FrameType::l1 && t <= FrameType::l4; }
/// A type whose contents the processor trusts: the guest must not be able to write such a frame.
[[nodiscard]] constexpr bool is_protected(FrameType t) {
  return t >= FrameType::l1 && t <= FrameType::seg_desc;
}
[[nodiscard]] constexpr Level level_of(FrameType t) { return static_cast<Level>(t); }
[[nodiscard]] std::string_view name(FrameType type);

/// What asking for a frame as a type does.
enum class Transition : std::uint8_t {
  refuse,  ///< The frame is relied upon as something else.
  share,   ///< One more reliance on what it already is; a table whose check was interrupted is checked to the
           ///< end first.
  retype,  ///< Nobody relies on it: it becomes the new type, after a check of its contents where the type
           ///< needs one.
};

/// The only place that decides. `counted`: does anybody rely on the current type?
[[nodiscard]] constexpr Transition transition(FrameType current, bool counted, FrameType wanted) {
  if (!counted) return Transition::retype;
  return current == wanted ? Transition::share : Transition::refuse;
}

/// What a domain knows of a frame: 8 bytes. All zero: a frame that is not the domain's. Of another domain's,
/// nothing but `borrowed` is ever set.
///
/// Guarded by the domain's lock. Threads that share the lock change the type to writable, by atomic stores
/// (core/access.hpp), and nothing else.
struct FrameFacts {
  std::uint32_t mirror = 0;  ///< Index of the table's mirror, 0 for none.
  FrameType type = FrameType::none;
  bool mine : 1 = false;  ///< The domain owns the frame.
  bool pinned : 1 = false;
  bool validated : 1 = false;
  bool partial : 1 = false;
  bool allocated : 1 = false;  ///< In the domain's reservation.
  bool special : 1 = false;    ///< The monitor's own page, shared with the guest (shared_info, grant table):
                               ///< never freed by it.
  bool borrowed : 1 = false;   ///< Another domain's, which granted it, and mapped here (BorrowedFrames).
  /// Code at CPL0 of the domain's VM may store into the frame, whatever protects it from the guest
  /// (FrameView::open_window).
  bool window : 1 = false;
  /// Of a table of level 2 to 4: above 0, how many of its entries name other tables of its level; below 0,
  /// how many entries of such tables name it. Never both.
  std::int16_t linear = 0;
};
static_assert(sizeof(FrameFacts) == 8 && FrameFacts{}.type == FrameType::none);

/// What the domain's L1 entries refer to: 8 bytes, each count of which one L1 entry changes by one. Threads
/// that share the domain's lock count by atomic accesses to both (core/access.hpp).
struct alignas(std::uint64_t) FrameUses {
  std::uint32_t refs = 0;      ///< Present entries that name the frame.
  std::uint32_t writable = 0;  ///< Those of them with RW.
};
static_assert(sizeof(FrameUses) == 8);

/// The whole of what is known about one frame, put together for whoever looks at it (DomainRecords::frame).
/// All zero: a frame that nobody owns.
///
/// Invariants, checked by the audit:
///
/// - `refs` counts the allocation (1 while the domain has the frame in its reservation), each present entry
///   that names the frame, and each type reference held outside of entries (pin, loaded root, descriptor
///   table, device, monitor).
/// - Every type reference comes with a general one, so `refs >= type_count`.
/// - `pinned` stands for exactly one reference of each kind.
/// - `partial` marks a table of level 2 to 4 that is neither validated nor plain. Its first entries hold
///   references, and UnfinishedTables knows how many. The table holds one reference of each kind itself, and
///   nobody else holds a type reference. It has a mirror while its check is interrupted, and none while it is
///   being released.
/// - `mirror` is not 0 if and only if the frame is a validated table, or one whose check was interrupted.
/// - A frame has a protected type if and only if somebody relies on it.
struct Frame {
  std::uint32_t refs = 0;
  std::uint32_t type_count = 0;
  std::uint32_t mirror = 0;
  std::uint16_t owner_plus_1 = 0;
  FrameType type = FrameType::none;
  bool pinned : 1 = false;
  bool validated : 1 = false;
  bool partial : 1 = false;
  bool allocated : 1 = false;
  bool special : 1 = false;
  std::int16_t linear = 0;

  /// The owner's number + 1, 0 for nobody.
  [[nodiscard]] std::uint16_t owner_tag() const { return owner_plus_1; }
  [[nodiscard]] DomId owner() const { return DomId(static_cast<std::uint16_t>(owner_plus_1 - 1)); }
};

/// May the monitor write the frame for its owner now? Not while it is a table or a descriptor page.
[[nodiscard]] constexpr bool may_be_written(const FrameFacts& facts) { return !is_protected(facts.type); }

/// The type, for a thread without the owner's lock that looks once more at a frame that it holds. The type
/// does not change as long as the hold is counted as it should be.
[[nodiscard]] inline FrameType type_as_of_now(const FrameFacts& facts) {
  return std::atomic_ref(const_cast<FrameType&>(facts.type)).load(std::memory_order_relaxed);
}

/// A guest that maps one frame this often is refused, so that no count can wrap.
inline constexpr std::uint32_t max_references = 0x7fff'ffff;

}  // namespace pinfold::pvmmu
