#include "state.hpp"

#include <fmt/format.h>

namespace pinfold::pvmmu::search {

// Bits 0 to 9 are bits 0, 1, 2 and 5 to 11 of the entry; 10 is its bit 52, 11 its bit 63; 12 to 14 are the
// frame.
EntryCode encode(Pte entry) {
  const std::uint64_t raw = entry.raw();
  const auto code = static_cast<EntryCode>((raw & 7) | (raw >> 5 & 0x7f) << 3 | (raw >> 52 & 1) << 10 |
                                           (raw >> 63) << 11 | (entry.mfn().raw() & 7) << 12);
  if (decode(code) != entry) throw Finding(fmt::format("the entry {:#x} was never asked for", raw));
  return code;
}

Pte decode(EntryCode code) {
  const std::uint64_t c = code;
  return Pte(Mfn(frame_in(code)), (c & 7) | (c >> 3 & 0x7f) << 5 | (c >> 10 & 1) << 52 | (c >> 11 & 1) << 63);
}

namespace {

std::string describe_entries(const FrameImage& f) {
  std::string text;
  for (std::size_t i = 0; i < f.guest.size(); ++i) {
    if (f.type == FrameType::seg_desc) {
      text += f.guest[i] != 0 ? " code" : " -";
      continue;
    }
    const Pte e = decode(f.guest[i]);
    if (e.raw() == 0) {
      text += " -";
      continue;
    }
    text +=
        fmt::format(" [{}{}{}{} {}", e.present() ? "" : "!P", e.writable() ? "rw" : "ro",
                    e.any(bit::dirty) ? "d" : "", e.any(bit::pat_or_large) ? " large" : "", e.mfn().raw());
    text += f.mirrored ? fmt::format(" ~{:#x}]", decode(f.mirror[i]).flags()) : "]";
  }
  return text;
}

}  // namespace

std::string describe(const State& state, std::uint64_t frames) {
  std::string text;
  for (std::size_t i = 1; i <= frames; ++i) {
    const FrameImage& f = state.frames[i];
    if (f.owner == 0) {
      text += fmt::format("    frame {}: free\n", i);
      continue;
    }
    text += fmt::format("    frame {}: domain {}, {} ({} references, {} typed)", i, f.owner, name(f.type),
                        f.refs, f.types);
    if (f.pinned) text += " pinned";
    if (!f.allocated) text += f.special ? " special" : " given back";
    if (f.interrupted) text += fmt::format(" check stopped at {}", f.position);
    if (f.release != 0) text += fmt::format(" ends, {}. in line, at {}", f.release, f.position);
    if (f.partial && !f.interrupted && f.release == 0) text += " partial";
    if (is_protected(f.type)) text += ":" + describe_entries(f);
    text += '\n';
  }
  for (std::size_t d = 0; d < domains; ++d) {
    const DomainImage& image = state.domain[d];
    if (image.roots[0] == 0 && image.roots[1] == 0 && image.data_hold == 0 && image.descriptor_hold == 0)
      continue;
    text += fmt::format("    domain {}: roots {} {}, data held {}, descriptors held {}\n", d + 1,
                        image.roots[0], image.roots[1], image.data_hold, image.descriptor_hold);
  }
  return text;
}

}  // namespace pinfold::pvmmu::search
