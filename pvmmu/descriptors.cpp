#include "pvmmu/descriptor.hpp"
#include "pvmmu/entry_rules.hpp"
#include "pvmmu/traced_operation.hpp"
#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {
namespace {

// Fields of an 8-byte descriptor (Intel SDM vol. 3, figures 3-8 and 5-8).
constexpr std::uint64_t present = 1ULL << 47;
constexpr std::uint64_t code_or_data = 1ULL << 44;
constexpr unsigned dpl_shift = 45;
constexpr std::uint64_t dpl_mask = 3ULL << dpl_shift;
constexpr unsigned type_shift = 40;
constexpr std::uint64_t call_gate = 0xc;
constexpr unsigned selector_shift = 16;
constexpr std::uint64_t gate_reserved = 0xffULL
                                        << 32;  // parameter count and reserved bits: 0 in 64-bit gates
constexpr std::uint64_t flat_code64 = 0xe033;   // xen/arch-x86/xen-x86_64.h: FLAT_RING3_CS64

tl::expected<std::uint64_t, Rule> checked_gate(std::uint64_t raw) {
  const std::uint64_t selector = (raw >> selector_shift) & 0xffff;
  const bool local = (selector & 4) != 0;
  if ((selector >> 3) >= first_reserved_gdt_entry && !local && (selector | 3) != flat_code64)
    return tl::unexpected(Rule::desc_gate);
  if ((raw & gate_reserved) != 0) return tl::unexpected(Rule::desc_gate);
  // The gate's DPL is kept as the selector's RPL, for the code that emulates the call.
  const std::uint64_t dpl = (raw & dpl_mask) >> dpl_shift;
  return (raw & ~dpl_mask & ~(3ULL << selector_shift)) | (dpl << selector_shift);
}

}  // namespace

tl::expected<std::uint64_t, Rule> checked_descriptor(std::uint64_t raw) {
  if ((raw & present) == 0) return raw;
  if ((raw & code_or_data) != 0) return raw | dpl_mask;
  const std::uint64_t type = (raw >> type_shift) & 0xf;
  if (type == 0) return raw;
  if (type == call_gate) return checked_gate(raw);
  return tl::unexpected(Rule::desc_system);
}

bool is_checked_descriptor(std::uint64_t raw) {
  const bool is_gate =
      (raw & present) != 0 && (raw & code_or_data) == 0 && ((raw >> type_shift) & 0xf) == call_gate;
  // A checked gate has DPL 0; another check would overwrite the DPL that is kept in its selector.
  if (is_gate) return (raw & dpl_mask) == 0 && checked_gate(raw).has_value();
  const auto again = checked_descriptor(raw);
  return again && *again == raw;
}

Verdict<std::uint64_t> Validator::write_descriptor(Held, MachineAddr where, std::uint64_t descriptor) {
  const Mfn mfn = frame_of(where);
  TracedOperation traced(*this, TraceKind::write_descriptor, mfn);
  if (traced) {
    traced->argument = where.raw();
    traced->now = Pte(descriptor);
  }
  return traced.run([&]() -> Verdict<std::uint64_t> {
    if (offset_in_page(where) % 8 != 0) return refuse(Rule::desc_misaligned, mfn);
    if (auto owned = check_owned(mfn); !owned) return tl::unexpected(owned.error());
    const std::size_t slot = offset_in_page(where) / 8;
    const auto fixed = checked_descriptor(descriptor);
    if (!fixed) return refuse(fixed.error(), Where{mfn, slot}, Pte(descriptor), mfn);

    const bool plain = records_.transition(mfn, FrameType::writable) != Transition::refuse;
    if (facts(mfn).type != FrameType::seg_desc && !plain) return refuse(Rule::frame_not_a_table, mfn);
    machine_.store(mfn.raw(), slot, *fixed);
    return *fixed;
  });
}

}  // namespace pinfold::pvmmu
