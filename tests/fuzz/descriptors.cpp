// Descriptor checks: an accepted descriptor gives a guest no more privilege than it has. Checked alone, in a
// page that becomes a descriptor page, and as a change of a descriptor page.
#include "pvmmu/descriptor.hpp"

#include <array>

#include "fake_machine.hpp"
#include "input.hpp"

namespace {

using namespace pinfold;
using namespace pinfold::pvmmu;
using pinfold::fuzz::Input;
using pinfold::fuzz::promise;

/// The fields of an 8-byte descriptor (Intel SDM vol. 3, 3.4.5 and 5.8.3).
struct Fields {
  explicit Fields(std::uint64_t raw)
      : present((raw >> 47 & 1) != 0),
        system((raw >> 44 & 1) == 0),
        type(raw >> 40 & 15),
        dpl(raw >> 45 & 3),
        selector(raw >> 16 & 0xffff),
        parameters(raw >> 32 & 0xff) {}
  bool present, system;
  std::uint64_t type, dpl, selector, parameters;

  [[nodiscard]] bool gate() const { return present && system && type == 12; }
};

/// May a call gate have this selector? Allowed are the LDT, the guest's part of the GDT, and the monitor's
/// flat code segment for guests.
bool is_guests_own(std::uint64_t selector) {
  const bool ldt = (selector >> 2 & 1) != 0;
  return ldt || selector / 8 < 14 * 512 || (selector | 3) == 0xe033;
}

bool must_be_refused(const Fields& f) {
  if (!f.present || !f.system || f.type == 0) return false;
  return f.type != 12 || f.parameters != 0 || !is_guests_own(f.selector);
}

/// The bits that a check may change: the DPL, and the RPL of a gate's selector.
constexpr std::uint64_t dpl_bits = 3ULL << 45, rpl_bits = 3ULL << 16;

void check_accepted(std::uint64_t raw, std::uint64_t stored) {
  const Fields before(raw), after(stored);
  promise(((raw ^ stored) & ~(dpl_bits | (before.gate() ? rpl_bits : 0))) == 0, "only privileges change");
  if (!before.present || (before.system && !before.gate())) promise(raw == stored, "unused ones stay");
  if (before.present && !before.system) promise(after.dpl == 3, "code and data are the user's");
  if (before.gate()) promise(after.dpl == 0, "each use of a gate faults");
  if (before.gate()) promise((after.selector & 3) == before.dpl, "the gate's DPL is kept");
  const auto again = checked_descriptor(stored);
  promise(again.has_value(), "what was accepted is accepted");
  promise(before.gate() || *again == stored, "what was fixed stays");
}

void check(std::uint64_t raw) {
  const auto checked = checked_descriptor(raw);
  promise(checked.has_value() != must_be_refused(Fields(raw)), "refused if and only if it must be");
  if (checked) check_accepted(raw, *checked);
}

/// A raw descriptor, or one made from an access byte, so that the interesting ones are frequent.
std::uint64_t take_descriptor(Input& input) {
  const auto form = input.take<std::uint8_t>();
  if ((form & 1) != 0) return input.take<std::uint64_t>();
  const std::uint64_t access = input.take<std::uint8_t>();
  const std::uint64_t low = input.take<std::uint32_t>();
  return low | access << 40 | ((form & 2) != 0 ? std::uint64_t{input.take<std::uint8_t>()} << 32 : 0);
}

struct Entry {
  std::size_t slot;
  std::uint64_t raw;
};

class Page {
 public:
  Page() : domain_(machine_, DomId(1), {4}), mfn_(domain_.allocate()) {}

  /// Stores it like the guest's processor, before the page is a descriptor page.
  void store(const Entry& e) {
    content_[e.slot] = e.raw;
    machine_.poke(mfn_, e.slot, Pte(e.raw));
  }
  bool hold() {
    bool fine = true;
    for (const std::uint64_t raw : content_) fine = fine && !must_be_refused(Fields(raw));
    const auto held = domain_.mmu.hold(domain_.held, mfn_, FrameType::seg_desc);
    promise(held.has_value() == fine, "a page is a table if and only if all its descriptors may be in one");
    if (held) domain_.outside.add(mfn_);
    // Some descriptors of a refused page may have been changed.
    for (std::size_t slot = 0; slot < content_.size(); ++slot) settle({slot, content_[slot]}, !held);
    audit();
    return fine;
  }
  void write(const Entry& e) {
    const auto done = domain_.mmu.write_descriptor(domain_.held, test::entry_at(mfn_, e.slot), e.raw);
    promise(done.has_value() != must_be_refused(Fields(e.raw)),
            "a write is refused if and only if it must be");
    if (done) content_[e.slot] = *done;
    if (done) promise(*done == peek(e.slot), "what is returned was stored");
    settle({e.slot, done ? e.raw : content_[e.slot]}, !done);
    audit();
  }

 private:
  [[nodiscard]] std::uint64_t peek(std::size_t slot) const { return machine_.peek(mfn_, slot).raw(); }
  void audit() const { promise(domain_.findings().empty(), "the audit finds nothing"); }
  /// Checks that the slot holds the result for `e`, or with `untouched` `e` itself.
  void settle(const Entry& e, bool untouched) {
    const std::uint64_t found = peek(e.slot);
    if (!untouched || found != e.raw) check_accepted(e.raw, found);
    content_[e.slot] = found;
  }

  test::FakeMachine machine_{4};
  test::FakeDomain domain_;
  Mfn mfn_;
  std::array<std::uint64_t, entries_per_table> content_{};
};

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  Page page;
  bool table = false;
  constexpr std::size_t most = 64;
  for (std::size_t i = 0; i < most && !input.empty(); ++i) {
    const auto how = input.take<std::uint16_t>();
    const Entry e{how % entries_per_table, take_descriptor(input)};
    check(e.raw);
    if ((how >> 15) != 0 && !table) table = page.hold();
    if ((how >> 14 & 1) != 0 || table)
      page.write(e);
    else
      page.store(e);
  }
  if (!table) page.hold();
  return 0;
}
