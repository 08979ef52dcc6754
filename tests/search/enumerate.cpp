// Which operations are tried in a state: each one that could do something, and one of those that are refused
// because of the frame's type or owner, whatever their arguments are.
#include <set>

#include "operation.hpp"

namespace pinfold::pvmmu::search {
namespace {

/// The address that is translated by these of the slots in use, from L4 to L1.
GuestVaddr address_by(unsigned which) {
  std::uint64_t va = 0;
  for (unsigned level = 4; level >= 1; --level) va = va << 9 | slots[which >> (level - 1) & 1];
  return GuestVaddr(va << page_shift);
}

class Enumeration {
 public:
  Enumeration(const Box& box, const State& state) : box_(box), size_(box.size()), state_(state) {}

  std::vector<Operation> run() {
    for (std::uint8_t d = 0; d < domains; ++d) {
      if (d == 1 && size_.second == Second::nothing) continue;
      d_ = d;
      little_ = d == 1 && size_.second == Second::little;
      for (std::uint8_t i = 1; i <= size_.frames; ++i) {
        if (state_.frames[i].owner == d + 1)
          own_frame(i);
        else if (!little_)
          foreign_frame(i);
      }
      domain();
    }
    return std::move(all_);
  }

 private:
  Operation& add(Kind kind, std::size_t frame = 0) {
    Operation& op = all_.emplace_back();
    op.kind = kind;
    op.domain = d_;
    op.frame = static_cast<std::uint8_t>(frame);
    return op;
  }
  void add_entry(Kind kind, std::size_t frame, std::size_t slot, Pte want, bool in_pieces = false) {
    Operation& op = add(kind, frame);
    op.slot = slot;
    op.value = want.raw();
    op.in_pieces = in_pieces;
  }
  void add_pins(std::size_t frame) {
    for (const FrameType type : {FrameType::l1, FrameType::l2, FrameType::l3, FrameType::l4}) {
      if (little_ && type != FrameType::l1) break;
      Operation& op = add(Kind::pin, frame);
      op.type = type;
      op.in_pieces = type != FrameType::l1;  // which is checked whole
    }
  }

  void own_frame(std::uint8_t i) {
    const FrameImage& f = state_.frames[i];
    add_pins(i);
    add(Kind::unpin, i).in_pieces = true;
    if (!little_ || f.type == FrameType::none) add(Kind::deallocate, i);
    if (little_) return;
    if (is_table(f.type))
      entries(i, f.type);
    else
      add_entry(Kind::update, i, slots[0], Pte(Mfn(i), mapped_ro));
    if (f.type != FrameType::l1) add_entry(Kind::update_by_store, i, slots[0], Pte());
    roots(i);
    const DomainImage& here = state_.domain[d_];
    if (size_.writable_holds && here.data_hold == 0) add(Kind::hold, i).type = FrameType::writable;
    if (size_.descriptor_holds && here.descriptor_hold == 0) add(Kind::hold, i).type = FrameType::seg_desc;
    add(Kind::check_exchange, i);
    add(Kind::clear_page, i);
    for (std::uint8_t from = 1; from <= size_.frames; ++from)
      if (from != i) add(Kind::copy_page, i).other = from;
    descriptors(i);
  }

  void entries(std::uint8_t i, FrameType type) {
    const bool leaf = type == FrameType::l1;
    for (std::size_t which = 0; which < slots.size(); ++which)
      for (const Pte want : box_.alphabet(d_, leaf).entries(which)) {
        const std::size_t slot = slots[which];
        add_entry(Kind::update, i, slot, want, true);
        if (want.present()) add_entry(Kind::update_preserving, i, slot, want, true);
        if (leaf) add_entry(Kind::update_concurrently, i, slot, want);
        if (leaf) add_entry(Kind::update_by_store, i, slot, want);
      }
    if (type == FrameType::l4)
      for (const Pte want : {Pte(), Pte(Mfn(i), mapped_rw_clean)})
        add_entry(Kind::update, i, first_xen_slot, want);
  }

  void roots(std::uint8_t i) {
    const auto& registers = state_.domain[d_].roots;
    for (std::uint8_t r = 0; r < (size_.user_root ? 2 : 1); ++r) {
      if (r == 1 && registers[0] == registers[1]) break;
      Operation& op = add(Kind::load_root, i);
      op.other = r;
      op.type = FrameType::l4;
      op.in_pieces = true;
    }
  }

  void descriptors(std::uint8_t i) {
    for (const std::uint64_t value : {std::uint64_t{0}, code_segment, task_gate})
      add_entry(Kind::write_descriptor, i, slots[0], Pte(value));
  }

  void foreign_frame(std::uint8_t i) {
    add_entry(Kind::update, i, slots[0], Pte(Mfn(i), mapped_ro));
    add_entry(Kind::update_concurrently, i, slots[0], Pte(Mfn(i), mapped_ro));
    add_entry(Kind::update_by_store, i, slots[0], Pte());
    add_pins(i);
    add(Kind::unpin, i);
    Operation& root = add(Kind::load_root, i);
    root.type = FrameType::l4;
    add(Kind::hold, i).type = FrameType::writable;
    add(Kind::hold, i).type = FrameType::seg_desc;
    add(Kind::deallocate, i);
    add(Kind::check_exchange, i);
    add(Kind::clear_page, i);
    add(Kind::copy_page, i).other = i == 1 ? 2 : 1;
    add_entry(Kind::write_descriptor, i, slots[0], Pte(code_segment));
  }

  void domain() {
    const DomainImage& here = state_.domain[d_];
    add(Kind::allocate);
    if (size_.special && !little_) add(Kind::allocate_special);
    bool ends = false;
    for (const FrameImage& f : state_.frames) ends = ends || (f.owner == d_ + 1 && f.release != 0);
    if (ends) add(Kind::finish_releases).in_pieces = true;
    if (here.data_hold != 0) add(Kind::release, here.data_hold).type = FrameType::writable;
    if (here.descriptor_hold != 0) add(Kind::release, here.descriptor_hold).type = FrameType::seg_desc;
    for (std::uint8_t r = 0; r < 2; ++r) {
      if (here.roots[r] == 0) continue;
      Operation& op = add(Kind::unload_root);
      op.other = r;
      op.in_pieces = true;
      if (r == 0 || here.roots[0] != here.roots[1]) addresses(r);
    }
  }

  /// Accesses to every address under a root, and updates by address: for each L1 all entries by one path, and
  /// one entry by each other path.
  void addresses(std::uint8_t r) {
    std::set<std::pair<std::size_t, unsigned>> seen;
    bool unreachable = false;
    for (unsigned which = 0; which < 16; ++which) {
      const std::size_t l1 = walk(state_.domain[d_].roots[r], which);
      if (l1 == 0 && unreachable) continue;
      unreachable = unreachable || l1 == 0;
      for (const std::uint64_t write : {0, 1}) add_va(Kind::touch, r, which, write);
      if (l1 != 0 && seen.emplace(l1, which & 1).second) {
        for (const Pte want : box_.alphabet(d_, true).entries(which & 1))
          add_va(Kind::update_va, r, which, want.raw());
      } else {
        add_va(Kind::update_va, r, which, 0);
      }
    }
  }
  void add_va(Kind kind, std::uint8_t r, unsigned which, std::uint64_t value) {
    Operation& op = add(kind);
    op.other = r;
    op.va = address_by(which);
    op.value = value;
  }
  [[nodiscard]] std::size_t walk(std::size_t table, unsigned which) const {
    for (unsigned level = 4; level > 1; --level) {
      const EntryCode entry = state_.frames[table].guest[which >> (level - 1) & 1];
      if (!decode(entry).present()) return 0;
      table = frame_in(entry);
    }
    return table;
  }

  const Box& box_;
  const Size& size_;
  const State& state_;
  std::uint8_t d_ = 0;
  bool little_ = false;
  std::vector<Operation> all_;
};

}  // namespace

std::vector<Operation> operations(const Box& box, const State& state) {
  return Enumeration(box, state).run();
}

}  // namespace pinfold::pvmmu::search
