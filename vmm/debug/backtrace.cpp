#include "vmm/debug/backtrace.hpp"

#include <array>
#include <cstring>

namespace pinfold::vmm {
namespace {

constexpr std::uint64_t stack_size = 16384, word = 8;
constexpr std::size_t longest_call = 7;

bool is_kernel_code(pvmmu::Held held, const pvmmu::Validator& mmu, Mfn root, std::uint64_t address) {
  if (!is_canonical(address) || address < xen_range_end) return false;
  const auto leaf = mmu.walk(held, root, GuestVaddr(address));
  return leaf && leaf->entry.present() && leaf->executable;
}

bool follows_call(pvmmu::Held held, const GuestDebug& memory, Mfn root, std::uint64_t address) {
  std::array<std::byte, longest_call> before{};
  const std::span bytes(before);
  return memory.read(held, root, GuestVaddr(address - longest_call), bytes) == bytes.size() &&
         ends_in_call(bytes);
}

}  // namespace

bool ends_in_call(std::span<const std::byte> before) {
  constexpr std::byte direct{0xe8}, indirect{0xff};
  constexpr std::size_t direct_length = 5;
  if (before.size() >= direct_length && before[before.size() - direct_length] == direct) return true;
  // FF /2 with every length that its ModR/M byte gives in 64-bit mode.
  for (std::size_t length = 2; length <= longest_call && length <= before.size(); ++length) {
    if (before[before.size() - length] != indirect) continue;
    const auto modrm = std::to_integer<unsigned>(before[before.size() - length + 1]);
    if ((modrm >> 3 & 7) != 2) continue;
    const unsigned mod = modrm >> 6, rm = modrm & 7;
    const bool sib = mod != 3 && rm == 4;
    std::size_t base = 2 + (sib ? 1U : 0U);
    if (mod == 1) base += 1;
    if (mod == 2 || (mod == 0 && rm == 5)) base += 4;
    const bool sib_without_base = sib && mod == 0 && length >= 3 &&
                                  (std::to_integer<unsigned>(before[before.size() - length + 2]) & 7) == 5;
    if (base + (sib_without_base ? 4U : 0U) == length) return true;
  }
  return false;
}

std::vector<StackEntry> scan_stack(pvmmu::Held held, pvmmu::Validator& mmu, Mfn root, std::uint64_t rsp,
                                   std::uint64_t rbp) {
  std::vector<StackEntry> entries;
  const GuestDebug memory(mmu);
  const std::uint64_t begin = (rsp + word - 1) & ~(word - 1);
  const std::uint64_t end = (begin & ~(stack_size - 1)) + stack_size;
  std::uint64_t frame = rbp;  // the next saved frame pointer; the return address is above it
  for (std::uint64_t at = begin; at != end && entries.size() < most_stack_entries; at += word) {
    std::uint64_t value = 0;
    const auto bytes = std::as_writable_bytes(std::span(&value, 1));
    if (memory.read(held, root, GuestVaddr(at), bytes) != word) break;
    const bool certain = at == frame + word;
    if (at == frame && value <= frame) frame = 0;  // the chain ends, or leads back
    if (is_kernel_code(held, mmu, root, value) && follows_call(held, memory, root, value))
      entries.push_back({value, certain});
    if (!certain) continue;
    std::uint64_t outer = 0;
    const auto outer_bytes = std::as_writable_bytes(std::span(&outer, 1));
    if (memory.read(held, root, GuestVaddr(frame), outer_bytes) == word && outer > frame) frame = outer;
  }
  return entries;
}

}  // namespace pinfold::vmm
