#include "operation.hpp"

#include <fmt/format.h>

#include "state_access.hpp"

namespace pinfold::pvmmu::search {
namespace {

constexpr std::array<const char*, 20> names{"update",
                                            "update (PRESERVE_AD)",
                                            "update_concurrently",
                                            "update_l1_by_store",
                                            "update_va",
                                            "pin",
                                            "unpin",
                                            "load_root",
                                            "unload_root",
                                            "hold",
                                            "release",
                                            "allocate",
                                            "allocate_special",
                                            "deallocate",
                                            "check_exchangeable",
                                            "clear_page",
                                            "copy_page",
                                            "write_descriptor",
                                            "touch",
                                            "finish_releases"};

/// One operation on one domain of the box.
class Application {
 public:
  Application(Box& box, const Operation& op)
      : box_(box),
        op_(op),
        here_(box.domain(op.domain)),
        mmu_(here_.mmu),
        held_(here_.held),
        mfn_(op.frame) {}

  Outcome run() {
    switch (op_.kind) {
      case Kind::update: return update(Preserve::nothing);
      case Kind::update_preserving: return update(Preserve::accessed_and_dirty);
      case Kind::update_concurrently: return update_concurrently();
      case Kind::update_by_store:
        return stored(
            mmu_.update_l1_by_store(held_, Leaf{no_mfn, 0, Pte(mfn_, mapped_ro)}, op_.slot, want()));
      case Kind::update_va: return update_va();
      case Kind::pin: return pin();
      case Kind::unpin: return unpin();
      case Kind::load_root: return load_root();
      case Kind::unload_root: mmu_.unload_root(held_, here_.roots[op_.other]); return done();
      case Kind::hold: return hold();
      case Kind::release: return release();
      case Kind::allocate: return allocated(mmu_.allocate(held_));
      case Kind::allocate_special: return allocated(mmu_.allocate_special(held_));
      case Kind::deallocate: return outcome(mmu_.deallocate(held_, mfn_));
      case Kind::check_exchange: return check_exchange();
      case Kind::clear_page: return only_if_plain(mmu_.clear_page(held_, mfn_));
      case Kind::copy_page: return copy_page();
      case Kind::write_descriptor: return write_descriptor();
      case Kind::touch: return touch();
      case Kind::finish_releases: return finish_releases();
    }
    return {};
  }

 private:
  [[nodiscard]] Pte want() const { return Pte(op_.value); }
  [[nodiscard]] Frame frame() const { return box_.frame(mfn_); }
  [[nodiscard]] bool is_plain() const { return !is_protected(frame().type) || frame().type_count == 0; }
  [[nodiscard]] static Outcome done(bool accepted = true) {
    Outcome o;
    o.accepted = accepted;
    return o;
  }
  template <class T>
  [[nodiscard]] static Outcome outcome(const Verdict<T>& verdict) {
    Outcome o = done(verdict.has_value());
    if (verdict) return o;
    o.rule = verdict.error().rule;
    o.unfinished = verdict.error().rule == Rule::unfinished;
    return o;
  }
  static void demand(bool holds, const char* what) {
    if (!holds) throw Finding(what);
  }

  /// After an accepted update the entry is as requested, apart from A, D, G, U and the bits for software.
  Outcome stored(const Verdict<>& verdict) { return stored(verdict, mfn_, op_.slot); }
  Outcome stored(const Verdict<>& verdict, Mfn table, std::size_t slot) {
    constexpr std::uint64_t significant = bit::address | bit::present | bit::writable | bit::no_execute;
    const Frame f = box_.frame(table);
    if (verdict && is_table(f.type) && f.type_count != 0) {
      const Pte found(box_.machine().load(table.raw(), slot));
      demand(((found.raw() ^ op_.value) & significant) == 0, "an accepted entry is not in its table");
    }
    return outcome(verdict);
  }

  Outcome update(Preserve preserve) {
    const bool plain = is_plain();
    box_.expect(static_cast<FrameType>(static_cast<int>(frame().type) - (plain ? 0 : 1)));
    const Verdict<> verdict = mmu_.update(held_, entry_address(mfn_, op_.slot), want(), preserve);
    demand(!verdict || mmu_.owns(mfn_), "another domain's frame was updated");
    return stored(verdict);
  }
  Outcome update_concurrently() {
    const EntryUpdate one{entry_address(mfn_, op_.slot), want()};
    const bool accepted = here_.update_concurrently(std::span(&one, 1)) == 1;
    demand(!accepted || mmu_.owns(mfn_), "another domain's frame was updated");
    return done(accepted);
  }
  Outcome update_va() {
    const Mfn root = here_.roots[op_.other];
    const auto leaf = mmu_.walk(held_, root, op_.va);
    const Verdict<> verdict = mmu_.update_va(held_, root, op_.va, want());
    demand(!verdict || leaf, "an address was updated that no table translates");
    return leaf ? stored(verdict, leaf->table, leaf->slot) : outcome(verdict);
  }

  Outcome pin() {
    box_.expect(op_.type);
    const Outcome o = outcome(mmu_.pin(held_, level_of(op_.type), mfn_));
    demand(
        !o.accepted || (mmu_.owns(mfn_) && frame().pinned && frame().type == op_.type && frame().validated),
        "a pinned frame is no table");
    return o;
  }
  Outcome unpin() {
    const Outcome o = outcome(mmu_.unpin(held_, mfn_));
    demand(!o.accepted || !frame().pinned, "an unpinned frame is pinned");
    return o;
  }
  Outcome load_root() {
    box_.expect(FrameType::l4, true);  // a pin tries them all
    Mfn& root = here_.roots[op_.other];
    const Outcome o = outcome(mmu_.load_root(held_, root, mfn_));
    demand(!o.accepted ||
               (root == mfn_ && mmu_.owns(mfn_) && frame().type == FrameType::l4 && frame().validated),
           "a loaded root is no L4");
    return o;
  }
  Outcome hold() {
    box_.expect(op_.type);
    const Outcome o = outcome(mmu_.hold(held_, mfn_, op_.type));
    if (o.accepted) held_place() = mfn_;
    return o;
  }
  Outcome release() {
    mmu_.release(held_, mfn_);
    held_place() = no_mfn;
    return done();
  }
  [[nodiscard]] Mfn& held_place() {
    return op_.type == FrameType::writable ? here_.data_hold : here_.descriptor_hold;
  }

  Outcome allocated(const Verdict<Mfn>& mfn) {
    if (!mfn) return outcome(mfn);
    const auto* const bytes = reinterpret_cast<const unsigned char*>(box_.machine().page(mfn->raw()));
    demand(std::all_of(bytes, bytes + page_size, [](unsigned char b) { return b == 0; }),
           "an allocated frame holds what somebody left there");
    return done();
  }
  Outcome check_exchange() {
    const Outcome o = outcome(mmu_.check_exchangeable(held_, mfn_));
    const bool may = mmu_.owns(mfn_) && frame().allocated && !frame().special && frame().refs == 1;
    demand(o.accepted == may, "the check for an exchange errs");
    return o;
  }
  Outcome only_if_plain(const Verdict<>& verdict) {
    demand(!verdict || (mmu_.owns(mfn_) && is_plain()), "a protected or foreign frame was written");
    return outcome(verdict);
  }
  Outcome copy_page() {
    const Verdict<> verdict = mmu_.copy_page(held_, mfn_, Mfn(op_.other));
    demand(!verdict || mmu_.owns(Mfn(op_.other)), "another domain's frame was read");
    return only_if_plain(verdict);
  }
  Outcome write_descriptor() {
    const auto written = mmu_.write_descriptor(held_, entry_address(mfn_, op_.slot), op_.value);
    demand(!written || (mmu_.owns(mfn_) && (is_plain() || frame().type == FrameType::seg_desc)),
           "a descriptor was written into a table");
    demand(!written || op_.value != task_gate, "a descriptor was accepted that no guest may have");
    return outcome(written);
  }
  Outcome touch() {
    const bool write = op_.value != 0;
    const auto leaf = mmu_.walk(held_, here_.roots[op_.other], op_.va);
    if (!leaf || !mmu_.touch(held_, *leaf, write)) return done(false);
    const Frame table = box_.frame(leaf->table);
    const Pte mirrored = here_.mirrors.load(MirrorId(table.mirror), leaf->slot);
    demand(mirrored.present() && (!write || mirrored.writable()), "a permitted access faults still");
    demand(!write || leaf->writable, "a write was permitted through a read-only mapping");
    return done();
  }
  Outcome finish_releases() {
    Outcome o = done(mmu_.finish_releases(held_));
    o.unfinished = !o.accepted;
    return o;
  }

  Box& box_;
  const Operation& op_;
  BoxDomain& here_;
  Validator& mmu_;
  const DomainLock& held_;
  Mfn mfn_;
};

}  // namespace

Outcome apply(Box& box, const Operation& op, std::uint64_t budget) {
  BoxDomain& here = box.domain(op.domain);
  here.mmu.set_budget(here.held, Budget(budget));
  box.choosing = true;
  Outcome outcome = Application(box, op).run();
  box.choosing = false;
  outcome.spent = budget - StateAccess::budget_left(here.mmu);
  return outcome;
}

std::string describe(const Operation& op, std::uint64_t budget) {
  std::string text = fmt::format("domain {}: {}", op.domain + 1, names[static_cast<std::size_t>(op.kind)]);
  if (op.frame != 0) text += fmt::format(" frame {}", op.frame);
  if (op.kind == Kind::copy_page) text += fmt::format(" from {}", op.other);
  if (op.type != FrameType::none) text += fmt::format(" as {}", name(op.type));
  switch (op.kind) {
    case Kind::update:
    case Kind::update_preserving:
    case Kind::update_concurrently:
    case Kind::update_by_store:
    case Kind::write_descriptor: text += fmt::format(" slot {} := {:#x}", op.slot, op.value); break;
    case Kind::update_va:
    case Kind::touch:
      text += fmt::format(" {:#x} under root {}, value {:#x}", op.va.raw(), op.other, op.value);
      break;
    case Kind::load_root:
    case Kind::unload_root: text += fmt::format(", root {}", op.other); break;
    default: break;
  }
  if (budget != no_limit) text += fmt::format(", with a budget of {}", budget);
  return text;
}

}  // namespace pinfold::pvmmu::search
