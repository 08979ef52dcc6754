#include "model.hpp"

namespace pinfold::pvmmu::property {
namespace {

constexpr std::uint64_t dpl3 = 3ULL << 45;

/// For the descriptors that this test makes, which are not call gates.
bool descriptor_allowed(std::uint64_t raw) {
  const bool present = (raw >> 47 & 1) != 0, code_or_data = (raw >> 44 & 1) != 0;
  return !present || code_or_data || (raw >> 40 & 0xf) == 0;
}
std::uint64_t adjusted_descriptor(std::uint64_t raw) {
  return (raw >> 47 & 1) != 0 && (raw >> 44 & 1) != 0 ? raw | dpl3 : raw;
}
bool is_monitors_slot(FrameType type, std::size_t slot) {
  return type == FrameType::l4 && slot >= 256 && slot <= 271;
}

}  // namespace

std::uint64_t Model::adjusted(FrameType type, std::uint64_t entry) {
  if (type == FrameType::seg_desc) return adjusted_descriptor(entry);
  const Pte e(entry);
  if (!e.present()) return entry;
  if (type == FrameType::l4) return entry | bit::user | bit::accessed;
  if (type != FrameType::l1) return entry | bit::user;
  const bool was_kernel = !e.any(bit::user) || e.any(bit::guest_kernel);
  return entry | bit::user | (was_kernel ? bit::guest_kernel : bit::global);
}

void Model::demand(Census& c, int d, Mfn mfn, FrameType type, Errno not_owned, Errno conflict) const {
  if (!owns(d, mfn)) {
    c.wrong.insert(not_owned);
    return;
  }
  Use& use = c.use[mfn.raw()];
  ++use.refs;
  if (type == FrameType::none) return;
  if (use.types != 0 && use.type != type) {
    c.wrong.insert(conflict);
    // The second one of the two is refused; the model does not know the order.
    if (type == FrameType::writable || use.type == FrameType::writable)
      c.wrong.insert({Errno::ebusy, Errno::einval});
    return;
  }
  use.type = type;
  if (++use.types == 1) visit(c, d, mfn, type);
}

void Model::visit(Census& c, int d, Mfn mfn, FrameType type) const {
  if (!is_protected(type)) return;
  const auto& content = frames[mfn.raw()].content;
  c.open[mfn.raw()] = true;
  for (std::size_t slot = 0; slot < content.size(); ++slot) {
    if (type == FrameType::seg_desc) {
      if (!descriptor_allowed(content[slot])) c.wrong.insert(Errno::einval);
    } else if (!is_monitors_slot(type, slot)) {
      demand_entry(c, d, mfn, type, Pte(content[slot]));
    }
  }
  c.open[mfn.raw()] = false;
}

bool Model::is_linear(const Census& c, int d, Mfn in, FrameType table, Mfn named) const {
  if (!owns(d, named)) return false;
  return named == in || known_[named.raw()] == table || c.use[named.raw()].is(table);
}

/// Read-only; another table must be complete, and have no such entries itself, nor may anything use this one
/// so. An entry that names its own table refers to nothing.
void Model::demand_linear(Census& c, int d, Mfn in, FrameType table, Pte e) const {
  const std::uint64_t named = e.mfn().raw();
  if (e.writable()) {
    c.wrong.insert(Errno::einval);
  } else if (e.mfn() != in) {
    if (c.open[named] || c.names[named] != 0 || c.named[in.raw()] != 0) c.wrong.insert(Errno::einval);
    ++c.names[in.raw()], ++c.named[named];
    demand(c, d, e.mfn(), table, Errno::einval, Errno::einval);
  }
}

void Model::demand_entry(Census& c, int d, Mfn in, FrameType table, Pte e) const {
  if (!e.present()) return;
  const bool leaf = table == FrameType::l1;
  // PWT, PCD, PAT or PSE, and above L1 the global bit.
  if (((e.raw() >> 3 & 3) | (e.raw() >> 7 & 1)) != 0 || (!leaf && (e.raw() >> 8 & 1) != 0))
    c.wrong.insert(Errno::einval);
  if (!leaf) {
    if (is_linear(c, d, in, table, e.mfn())) return demand_linear(c, d, in, table, e);
    const auto child = static_cast<FrameType>(static_cast<int>(table) - 1);
    return demand(c, d, e.mfn(), child, Errno::einval, Errno::einval);
  }
  if (e.mfn().raw() == (1ULL << 40) - 1) {
    c.wrong.insert(Errno::einval);
  } else if (e.mfn().raw() >= frames.size()) {
    c.wrong.insert(Errno::eperm);
  } else {
    demand(c, d, e.mfn(), e.writable() ? FrameType::writable : FrameType::none, Errno::ebusy, Errno::ebusy);
  }
}

Census Model::census(const Demand* extra) const {
  Census c;
  c.use.resize(frames.size());
  c.open.resize(frames.size());
  c.names.resize(frames.size());
  c.named.resize(frames.size());
  for (std::size_t i = 0; i < frames.size(); ++i) {
    if (frames[i].allocated || frames[i].special) ++c.use[i].refs;
    if (frames[i].special) c.use[i].types = 1, c.use[i].type = FrameType::writable;
  }
  const auto need = [&](int d, Mfn mfn, FrameType type) {
    demand(c, d, mfn, type, Errno::einval, Errno::einval);
  };
  for (std::size_t i = 0; i < frames.size(); ++i)
    if (frames[i].pinned_as != 0) need(frames[i].owner, Mfn(i), static_cast<FrameType>(frames[i].pinned_as));
  for (int d = 0; d < domains; ++d) {
    for (const Mfn root : roots[static_cast<std::size_t>(d)])
      if (root != no_mfn) need(d, root, FrameType::l4);
    for (const auto& [mfn, type] : holds[static_cast<std::size_t>(d)]) need(d, mfn, type);
  }
  if (extra != nullptr && extra->table != FrameType::none)
    demand_entry(c, extra->domain, extra->mfn, extra->table, extra->entry);
  if (extra != nullptr && extra->table == FrameType::none) need(extra->domain, extra->mfn, extra->type);
  return c;
}

Census Model::census() const { return census(nullptr); }

template <class Change>
Expected Model::accept(const Demand& extra, Change&& change) {
  const Census before = census();
  const Census with = census(&extra);
  if (!with.wrong.empty()) return with.wrong;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    if (!with.use[i].trusted() || before.use[i].trusted()) continue;
    for (std::size_t slot = 0; slot < entries_per_table; ++slot)
      if (!is_monitors_slot(with.use[i].type, slot))
        frames[i].content[slot] = adjusted(with.use[i].type, frames[i].content[slot]);
  }
  change();
  settle(with);
  return {};
}

/// After a change: frames that are no longer tables keep the accessed bits that the processor set, and frames
/// that nobody refers to are free.
void Model::settle(const Census& before) {
  const Census after = census();
  for (std::size_t i = 0; i < frames.size(); ++i) {
    known_[i] = after.use[i].types != 0 ? after.use[i].type : FrameType::none;
    if (before.use[i].is(FrameType::l1) && !after.use[i].is(FrameType::l1))
      for (std::size_t slot = 0; slot < entries_per_table; ++slot)
        if (accessed.erase({i, slot}) != 0) frames[i].content[slot] |= bit::accessed;
    if (frames[i].owner == nobody || after.use[i].refs != 0) continue;
    frames[i].owner = nobody;
    frames[i].m2p = no_pfn.raw();
  }
}

Expected Model::update(int d, Mfn mfn, std::size_t slot, Pte want, bool preserve) {
  if (!owns(d, mfn)) return {Errno::einval};
  const Census before = census();
  const Use use = before.use[mfn.raw()];
  std::uint64_t& entry = frames[mfn.raw()].content[slot];
  if (use.is(FrameType::seg_desc)) return {Errno::einval};
  if (!use.trusted()) {
    entry = want.raw();
    return {};
  }
  if (is_monitors_slot(use.type, slot)) return {Errno::einval};
  const bool seen = accessed.contains({mfn.raw(), slot});
  if (preserve)
    want = want.with((entry & (bit::accessed | bit::dirty)) |
                     (seen && Pte(entry).present() ? bit::accessed : 0));
  const Pte stored(adjusted(use.type, want.raw()));
  return accept(Demand{d, use.type, stored, mfn, FrameType::none}, [&] {
    entry = stored.raw();
    accessed.erase({mfn.raw(), slot});
  });
}

std::optional<Model::Place> Model::walk(int d, std::size_t which, GuestVaddr va) const {
  Mfn frame = roots[static_cast<std::size_t>(d)][which];
  if (frame == no_mfn || is_monitors_slot(FrameType::l4, va.raw() >> 39 & 511)) return std::nullopt;
  bool writable = true;
  for (unsigned level = 4;; --level) {
    const std::size_t slot = va.raw() >> (12 + 9 * (level - 1)) & 511;
    if (is_monitors_slot(known_[frame.raw()], slot)) return std::nullopt;
    const Pte e(frames[frame.raw()].content[slot]);
    writable = writable && e.writable();
    if (level == 1) return Place{frame, slot, writable};
    if (!e.present()) return std::nullopt;
    frame = e.mfn();
  }
}

Expected Model::update_va(int d, std::size_t which, GuestVaddr va, Pte want) {
  const auto place = walk(d, which, va);
  if (!place || known_[place->table.raw()] != FrameType::l1) return {Errno::einval};
  return update(d, place->table, place->slot, want, false);
}

Expected Model::store_to_l1(int d, Mfn mfn, std::size_t slot, Pte want) {
  if (!owns(d, mfn) || !census().use[mfn.raw()].is(FrameType::l1)) return {Errno::einval};
  return update(d, mfn, slot, want, false);
}

Expected Model::pin(int d, unsigned level, Mfn mfn) {
  if (owns(d, mfn) && frames[mfn.raw()].pinned_as != 0) return {Errno::einval};
  return accept(Demand{d, FrameType::none, Pte(), mfn, static_cast<FrameType>(level)},
                [&] { frames[mfn.raw()].pinned_as = level; });
}

Expected Model::unpin(int d, Mfn mfn) {
  if (!owns(d, mfn) || frames[mfn.raw()].pinned_as == 0) return {Errno::einval};
  const Census before = census();
  frames[mfn.raw()].pinned_as = 0;
  settle(before);
  return {};
}

Expected Model::load_root(int d, std::size_t which, Mfn mfn) {
  return accept(Demand{d, FrameType::none, Pte(), mfn, FrameType::l4},
                [&] { roots[static_cast<std::size_t>(d)][which] = mfn; });
}

void Model::unload_root(int d, std::size_t which) {
  const Census before = census();
  roots[static_cast<std::size_t>(d)][which] = no_mfn;
  settle(before);
}

Expected Model::hold(int d, Mfn mfn, FrameType type) {
  return accept(Demand{d, FrameType::none, Pte(), mfn, type},
                [&] { holds[static_cast<std::size_t>(d)].emplace_back(mfn, type); });
}

void Model::release(int d, std::size_t index) {
  const Census before = census();
  auto& all = holds[static_cast<std::size_t>(d)];
  all.erase(all.begin() + static_cast<std::ptrdiff_t>(index));
  settle(before);
}

Expected Model::deallocate(int d, Mfn mfn) {
  if (!owns(d, mfn) || frames[mfn.raw()].special || !frames[mfn.raw()].allocated) return {Errno::einval};
  const Census before = census();
  frames[mfn.raw()].allocated = false;
  settle(before);
  return {};
}

Expected Model::exchangeable(int d, Mfn mfn) {
  if (!owns(d, mfn) || frames[mfn.raw()].special || !frames[mfn.raw()].allocated) return {Errno::einval};
  if (census().use[mfn.raw()].refs != 1) return {Errno::einval};
  return {};
}

Expected Model::write_descriptor(int d, Mfn mfn, std::size_t slot, std::uint64_t value) {
  if (!owns(d, mfn) || !descriptor_allowed(value)) return {Errno::einval};
  const Use use = census().use[mfn.raw()];
  if (use.trusted() && use.type != FrameType::seg_desc) return {Errno::einval};
  frames[mfn.raw()].content[slot] = adjusted_descriptor(value);
  return {};
}

Expected Model::set_machphys(int d, Mfn mfn, std::uint64_t pfn) {
  if (!owns(d, mfn)) return {Errno::einval};
  frames[mfn.raw()].m2p = pfn;
  return {};
}

Expected Model::clear_page(int d, Mfn mfn) {
  if (!owns(d, mfn) || census().use[mfn.raw()].trusted()) return {Errno::einval};
  frames[mfn.raw()].content = {};
  return {};
}

Expected Model::copy_page(int d, Mfn to, Mfn from) {
  if (!owns(d, to) || !owns(d, from) || census().use[to.raw()].trusted()) return {Errno::einval};
  frames[to.raw()].content = frames[from.raw()].content;
  return {};
}

std::optional<Pte> Model::linear_leaf(int d, std::size_t which, GuestVaddr va) const {
  const auto place = walk(d, which, va);
  if (!place || known_[place->table.raw()] == FrameType::l1) return std::nullopt;
  return Pte(frames[place->table.raw()].content[place->slot]);
}

bool Model::touch(int d, std::size_t which, GuestVaddr va, bool write) {
  const auto place = walk(d, which, va);
  if (!place) return false;
  std::uint64_t& entry = frames[place->table.raw()].content[place->slot];
  if (!Pte(entry).present() || (write && !place->writable)) return false;
  if (known_[place->table.raw()] != FrameType::l1) return true;  // an upper entry's bits stay as they are
  const std::uint64_t marks = bit::accessed | (write ? bit::dirty : 0);
  if ((entry & marks) == marks) return true;
  entry |= marks;
  accessed.erase({place->table.raw(), place->slot});
  return true;
}

void Model::allocated(int d, Mfn mfn, bool special) {
  ModelFrame& f = frames[mfn.raw()];
  f.owner = d;
  f.allocated = !special;
  f.special = special;
  f.content = {};
}

bool Model::may_allocate(int d, std::uint64_t count) const {
  std::uint64_t owned = 0;
  for (const ModelFrame& f : frames) owned += f.owner == d && !f.special ? 1 : 0;
  return owned + count <= most_frames_;
}

std::uint64_t Model::free_extents(std::uint64_t count) const {
  std::uint64_t extents = 0;
  for (std::size_t first = count; first + count <= frames.size(); first += count) {
    bool free = true;
    for (std::size_t i = 0; i < count; ++i) free = free && frames[first + i].owner == nobody;
    extents += free ? 1 : 0;
  }
  return extents;
}

bool Model::any_free() const {
  for (std::size_t i = 1; i < frames.size(); ++i)
    if (frames[i].owner == nobody) return true;
  return false;
}

}  // namespace pinfold::pvmmu::property
