// What the validator should do, written as plainly as possible. The model keeps no counts: after each
// operation it counts everything anew from the frames' contents, the pins, the roots and the holds. It is
// slow on purpose.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "pvmmu/errno.hpp"
#include "pvmmu/frame.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu::property {

inline constexpr int nobody = -1;
inline constexpr int domains = 2;
/// The root registers of a domain: two vCPUs have one each for kernel mode and for user mode.
inline constexpr std::size_t registers = 4;
/// All of them empty.
inline constexpr auto no_roots = [] {
  std::array<std::array<Mfn, registers>, domains> all{};
  for (auto& roots : all) roots.fill(no_mfn);
  return all;
}();

struct ModelFrame {
  int owner = nobody;
  bool allocated = false;
  bool special = false;
  unsigned pinned_as = 0;  ///< Level; 0 for not pinned.
  std::uint64_t m2p = 0;
  std::array<std::uint64_t, entries_per_table> content{};
};

/// Who refers to a frame, and as what.
struct Use {
  std::uint32_t refs = 0;
  std::uint32_t types = 0;
  FrameType type = FrameType::none;
  [[nodiscard]] bool is(FrameType t) const { return types != 0 && type == t; }
  [[nodiscard]] bool trusted() const { return types != 0 && is_protected(type); }
};

/// The validator may give any one of these errors; if there is none, it must accept.
using Expected = std::set<Errno>;

struct Census {
  std::vector<Use> use;
  Expected wrong;
  // Of linear page tables, by frame: being looked through; entries that name others of its level; entries of
  // others that name it.
  std::vector<bool> open;
  std::vector<unsigned> names, named;
};

class Model {
 public:
  explicit Model(std::size_t frame_count, std::uint64_t most_frames)
      : frames(frame_count), known_(frame_count, FrameType::none), most_frames_(most_frames) {}

  std::vector<ModelFrame> frames;
  std::array<std::array<Mfn, registers>, domains> roots = no_roots;
  std::array<std::vector<std::pair<Mfn, FrameType>>, domains> holds;
  /// Entries of L1 tables that the processor has accessed although the guest's entry does not say so yet.
  std::set<std::pair<std::uint64_t, std::size_t>> accessed;

  // Each of these changes the model only if the operation has to be accepted.
  Expected update(int d, Mfn mfn, std::size_t slot, Pte want, bool preserve);
  Expected update_va(int d, std::size_t which, GuestVaddr va, Pte want);
  Expected store_to_l1(int d, Mfn mfn, std::size_t slot, Pte want);
  Expected pin(int d, unsigned level, Mfn mfn);
  Expected unpin(int d, Mfn mfn);
  Expected load_root(int d, std::size_t which, Mfn mfn);
  void unload_root(int d, std::size_t which);
  Expected hold(int d, Mfn mfn, FrameType type);
  void release(int d, std::size_t index);
  Expected deallocate(int d, Mfn mfn);
  Expected exchangeable(int d, Mfn mfn);
  Expected write_descriptor(int d, Mfn mfn, std::size_t slot, std::uint64_t value);
  Expected set_machphys(int d, Mfn mfn, std::uint64_t pfn);
  Expected clear_page(int d, Mfn mfn);
  Expected copy_page(int d, Mfn to, Mfn from);
  /// The entry behind linear ones that a processor takes for an L1's; nullopt if the address leads to none.
  [[nodiscard]] std::optional<Pte> linear_leaf(int d, std::size_t which, GuestVaddr va) const;
  /// May the access be made? Sets A and D.
  bool touch(int d, std::size_t which, GuestVaddr va, bool write);
  /// The domain takes an unowned frame: zeroed.
  void allocated(int d, Mfn mfn, bool special);

  [[nodiscard]] bool may_allocate(int d, std::uint64_t count = 1) const;
  [[nodiscard]] bool any_free() const;
  /// How many disjoint runs of `count` free frames there are, each starting at a multiple of `count`.
  [[nodiscard]] std::uint64_t free_extents(std::uint64_t count) const;
  [[nodiscard]] bool owns(int d, Mfn mfn) const {
    return mfn.raw() < frames.size() && frames[mfn.raw()].owner == d;
  }
  [[nodiscard]] Census census() const;
  /// What a table's or descriptor page's entry becomes when it is accepted as `type`.
  [[nodiscard]] static std::uint64_t adjusted(FrameType type, std::uint64_t entry);

 private:
  struct Demand {
    int domain;
    FrameType table;  ///< An entry of a table of this type; none: `mfn` as `type` itself.
    Pte entry;
    Mfn mfn;  ///< Or, of an entry, the table.
    FrameType type;
  };
  struct Place {
    Mfn table;
    std::size_t slot;
    bool writable;
  };
  [[nodiscard]] std::optional<Place> walk(int d, std::size_t which, GuestVaddr va) const;
  [[nodiscard]] Census census(const Demand* extra) const;
  void demand(Census& c, int d, Mfn mfn, FrameType type, Errno not_owned, Errno conflict) const;
  void demand_entry(Census& c, int d, Mfn in, FrameType table, Pte e) const;
  /// Does an entry of the table `in` name a table of its own level?
  [[nodiscard]] bool is_linear(const Census& c, int d, Mfn in, FrameType table, Mfn named) const;
  void demand_linear(Census& c, int d, Mfn in, FrameType table, Pte e) const;
  void visit(Census& c, int d, Mfn mfn, FrameType type) const;
  /// Accepts the reference `extra` beside all others, or says why not. Then it makes the change and removes
  /// what nobody refers to.
  template <class Change>
  Expected accept(const Demand& extra, Change&& change);
  void settle(const Census& before);

  /// What each frame is since the last operation: the counts do not depend on an order, but whether an entry
  /// names a table of its own level does.
  std::vector<FrameType> known_;
  std::uint64_t most_frames_;
};

}  // namespace pinfold::pvmmu::property
