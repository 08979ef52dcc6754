// The records of one domain: what it knows of each frame of the machine, and the references to its frames.
#pragma once

#include <memory>

#include "pvmmu/frame.hpp"
#include "pvmmu/sparse_array.hpp"

namespace pinfold::pvmmu {

/// Three arrays with an element for each frame of the machine, apart from each other since code that changes
/// L1 entries needs the first two, and may write only the second. With the owner's tag (FrameTable) a frame
/// takes 22 bytes. Where the domain's VM has the first two, code at CPL0 of it can write the second. All
/// elements of a frame that is not the domain's are zero, and the host backs only parts that were written, so
/// a domain pays for the frames that it has.
///
/// - facts: what the frame is.
/// - uses: references of the domain's L1 entries.
/// - holds: all other references but the allocation's, which is a flag. Each is a general reference and one
///   of the frame's type: pins, entries of upper tables, loaded roots, descriptor tables, a partial table's
///   own, frames held by devices, and the monitor's to a special page. Threads that share the domain's lock
///   count frames held by devices here, by atomic accesses.
class DomainRecords {
 public:
  /// `frames`: size of the machine; `most`: what it can grow to; `in_vm`: facts and uses lie in pages of
  /// their own, since a VM has them. Throws std::bad_alloc.
  DomainRecords(std::uint64_t frames, std::uint64_t most, bool in_vm = false)
      : size_(frames),
        plain_type_(in_vm ? FrameType::writable : FrameType::none),
        facts_(frames, most, in_vm),
        uses_(frames, most, in_vm),
        holds_(frames, most, false) {}

  /// Frames of the machine that the domain knows of.
  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// Memory for the records of a machine of `frames`, whose size stays what it is until grow(). False: the
  /// host refuses.
  [[nodiscard]] bool make_room(std::uint64_t frames) const {
    return facts_.grow(frames) && uses_.grow(frames) && holds_.grow(frames);
  }
  void grow(std::uint64_t frames) { size_ = frames; }
  /// The type of a frame that nobody relies on. Code in the VM can't write facts: there such a frame is plain
  /// data from the beginning, and elsewhere from its first writable entry on.
  [[nodiscard]] FrameType plain_type() const { return plain_type_; }
  /// The domain gets these frames.
  void will_fill(Mfn first, std::uint64_t count) const {
    facts_.will_fill(first.raw(), count);
    uses_.will_fill(first.raw(), count);
  }
  [[nodiscard]] FrameFacts& facts(Mfn mfn) { return facts_[mfn.raw()]; }
  [[nodiscard]] const FrameFacts& facts(Mfn mfn) const { return facts_[mfn.raw()]; }
  /// The same, for a reader that may outlive these records.
  [[nodiscard]] std::shared_ptr<const FrameFacts> lasting_facts(Mfn mfn) const {
    return facts_.lasting(mfn.raw());
  }
  [[nodiscard]] FrameUses& uses(Mfn mfn) { return uses_[mfn.raw()]; }
  [[nodiscard]] const FrameUses& uses(Mfn mfn) const { return uses_[mfn.raw()]; }
  [[nodiscard]] const SparseMemory& facts_memory() const { return facts_.memory(); }
  [[nodiscard]] const SparseMemory& uses_memory() const { return uses_.memory(); }
  [[nodiscard]] std::uint32_t& holds(Mfn mfn) { return holds_[mfn.raw()]; }
  [[nodiscard]] std::uint32_t holds(Mfn mfn) const { return holds_[mfn.raw()]; }

  [[nodiscard]] bool owns(Mfn mfn) const { return mfn.raw() < size_ && facts(mfn).mine; }
  /// Does anybody rely on the frame's type? A protected type can't be had by an L1 entry.
  [[nodiscard]] bool is_counted(Mfn mfn) const { return holds(mfn) != 0 || uses(mfn).writable != 0; }
  /// Does it have any reference?
  [[nodiscard]] bool is_referenced(Mfn mfn) const {
    return facts(mfn).allocated || holds(mfn) != 0 || uses(mfn).refs != 0;
  }
  [[nodiscard]] Transition transition(Mfn mfn, FrameType wanted) const {
    return pvmmu::transition(facts(mfn).type, is_counted(mfn), wanted);
  }

  /// All that the domain knows of a frame, whose owner's tag this is: of another's, that and, if it is
  /// borrowed, how often the domain's entries name it.
  [[nodiscard]] Frame frame(Mfn mfn, std::uint16_t owner_tag) const {
    const FrameFacts& known = facts(mfn);
    Frame whole;
    whole.refs = uses(mfn).refs + holds(mfn) + (known.allocated ? 1U : 0U);
    whole.type_count = holds(mfn) + uses(mfn).writable;
    whole.mirror = known.mirror;
    whole.owner_plus_1 = owner_tag;
    whole.type = known.type;
    whole.pinned = known.pinned;
    whole.validated = known.validated;
    whole.partial = known.partial;
    whole.allocated = known.allocated;
    whole.special = known.special;
    whole.linear = known.linear;
    return whole;
  }

  /// The frame is no longer the domain's.
  void forget(Mfn mfn) {
    facts(mfn) = FrameFacts{};
    uses(mfn) = FrameUses{};
    holds(mfn) = 0;
  }

 private:
  std::uint64_t size_;
  FrameType plain_type_;
  SparseArray<FrameFacts> facts_;
  SparseArray<FrameUses> uses_;
  SparseArray<std::uint32_t> holds_;
};

}  // namespace pinfold::pvmmu
