#include "pvmmu/state_digest.hpp"

namespace pinfold::pvmmu {
namespace {

/// One step of a multiply-and-shift mixer over 64-bit words.
constexpr std::uint64_t mix(std::uint64_t digest, std::uint64_t word) {
  constexpr std::uint64_t odd = 0x9e3779b97f4a7c15ULL;
  digest = (digest ^ word) * odd;
  return digest ^ digest >> 32;
}

/// A frame of another domain that this one has mapped.
std::uint64_t add_borrowed(std::uint64_t digest, const Validator& mmu, Mfn mfn) {
  const BorrowedFrames::Mappings mappings = mmu.borrowed().of(mfn);
  digest = mix(digest, mfn.raw());
  digest = mix(digest, std::uint64_t{mappings.readers} << 32 | mappings.writers);
  return mix(digest, mmu.frame(mfn).refs);
}

std::uint64_t add(std::uint64_t digest, const Validator& mmu, Mfn mfn) {
  const Frame frame = mmu.frame(mfn);
  digest = mix(digest, mfn.raw());
  digest = mix(digest, std::uint64_t{frame.refs} << 32 | frame.type_count);
  digest = mix(
      digest,
      static_cast<std::uint64_t>(frame.type) << 8 | static_cast<std::uint64_t>(frame.pinned) << 0 |
          static_cast<std::uint64_t>(frame.validated) << 1 | static_cast<std::uint64_t>(frame.partial) << 2 |
          static_cast<std::uint64_t>(frame.allocated) << 3 | static_cast<std::uint64_t>(frame.special) << 4 |
          static_cast<std::uint64_t>(frame.mirror != 0) << 5);
  if (!is_protected(frame.type)) return digest;
  digest = mix(digest, mmu.entries_held(mfn));
  for (std::size_t slot = 0; slot < entries_per_table; ++slot)
    digest = mix(digest, mmu.machine().load(mfn.raw(), slot));
  return digest;
}

}  // namespace

std::vector<std::uint32_t> state_digests(Held, const Validator& mmu) {
  std::vector<std::uint32_t> digests(digests_of(mmu.machine_frames()));
  for (std::uint64_t i = 0; i < digests.size(); ++i) {
    std::uint64_t digest = 0;
    const std::uint64_t end = std::min((i + 1) * frames_per_digest, mmu.machine_frames());
    for (std::uint64_t n = i * frames_per_digest; n < end; ++n)
      if (mmu.owns(Mfn(n)))
        digest = add(digest, mmu, Mfn(n));
      else if (mmu.facts(Mfn(n)).borrowed)
        digest = add_borrowed(digest, mmu, Mfn(n));
    digests[i] = static_cast<std::uint32_t>(digest >> 32 ^ digest);
  }
  return digests;
}

}  // namespace pinfold::pvmmu
