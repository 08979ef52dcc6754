// Comparing a guest's table with its mirror when an entry is read back, and what happens if they differ.
#include <array>
#include <cinttypes>
#include <cstdio>

#include "pvmmu/descriptor.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

std::string Breach::describe() const {
  std::array<char, 256> text{};
  if (table == no_mfn)
    std::snprintf(text.data(), text.size(),
                  "a page-table entry named frame %#" PRIx64
                  " without holding a reference to it: it was never checked",
                  named.raw());
  else
    std::snprintf(text.data(), text.size(),
                  "slot %u of the table in frame %#" PRIx64 " holds %#" PRIx64
                  ", which was never checked (the mirror holds %#" PRIx64
                  "): the guest reached the table past its view",
                  unsigned{slot}, table.raw(), guest.raw(), mirror.raw());
  return text.data();
}

bool Validator::is_as_stored(Level level, Pte guest, Pte mirrored) const {
  if (!guest.present()) return mirrored.raw() == 0;
  if (!owns(guest.mfn())) return false;
  const MirrorId child = behind(level, guest.mfn(), 0);
  return child != no_mirror && !upper_differs(guest, mirrors_.frame(child), mirrored);
}

void Validator::note_breach(Where where, Pte guest, Pte mirrored) const {
  if (!breach_) breach_ = Breach{where.table, where.slot, where.level, guest, mirrored, no_mfn};
}

void Validator::note_stray(Mfn named) const {
  if (!breach_) breach_ = Breach{no_mfn, 0, Level::l1, Pte(), Pte(), named};
}

tl::unexpected<Refusal> Validator::refuse_breach(Where where, Pte guest, Pte mirrored) const {
  note_breach(where, guest, mirrored);
  return tl::unexpected(
      Refusal{Rule::table_not_as_stored, where.table, where.slot, guest, where.table, frame(where.table)});
}

bool Validator::read_descriptors(Held, Mfn mfn, std::span<std::uint64_t> to) const {
  for (std::size_t slot = 0; slot < to.size(); ++slot) {
    to[slot] = machine_.load(mfn.raw(), slot);
    if (is_checked_descriptor(to[slot])) continue;
    note_breach(Where{mfn, slot}, Pte(to[slot]), Pte());
    return false;
  }
  return true;
}

}  // namespace pinfold::pvmmu
