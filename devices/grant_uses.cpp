// Beginning uses of grants: of this domain's to itself, and of its neighbours'.
#include "devices/grant_table.hpp"

namespace pinfold::devices {
namespace {

using pvmmu::Rule;

/// Of an error of GrantEntries::acquire(), or of who holds the frame.
Rule rule_of(Errno error) {
  switch (error) {
    case Errno::erange: return Rule::grant_no_entry;
    case Errno::eperm: return Rule::grant_not_granted;
    case Errno::eagain: return Rule::grant_entry_changes;
    case Errno::einval: return Rule::grant_foreign_frame;
    default: return Rule::grant_frame_in_use;
  }
}

std::int16_t status_of(Rule rule) {
  switch (rule) {
#define OF_TABLES(id, name, error, text)
#define OF_GRANTS(id, name, status, text) \
  case Rule::id: return GNTST_##status;
    PINFOLD_RULES(OF_TABLES, OF_GRANTS)
#undef OF_GRANTS
#undef OF_TABLES
    default: return GNTST_general_error;
  }
}

}  // namespace

bool GrantTable::is_neighbour(DomId domain) const {
  return domain != self_ && neighbours_ && neighbours_->visit(domain);
}

std::int16_t GrantTable::check_table_of(std::uint16_t dom) const {
  if (is_self(dom)) return GNTST_okay;
  return is_neighbour(DomId(dom)) ? GNTST_permission_denied : GNTST_bad_domain;
}

std::int16_t GrantTable::refuse(vmm::Hypercall& call, vmm::GrantAttempt attempt, Rule rule) {
  attempt.refused = rule;
  target_.tell(*call.held, attempt);
  return status_of(rule);
}

GrantTable::Used GrantTable::use_grant(vmm::Hypercall& call, DomId owner, std::uint32_t ref, GrantUse use,
                                       GrantSpan span) {
  return owner == self_ ? use_own(*call.held, GrantRef(ref), use, span)
                        : use_neighbours(call, owner, GrantRef(ref), use, span);
}

GrantTable::Used GrantTable::use_own(pvmmu::Held held, GrantRef ref, GrantUse use, GrantSpan span) {
  // A table has one frame from the start.
  if (!entries_->grow(held, 1)) return tl::unexpected(Rule::grant_not_granted);
  auto page = GrantedPage::begin(
      entries_, ref, self_, use,
      [&](Mfn frame, GrantUse wanted) { return target_.hold_granted(held, frame, wanted); }, span);
  if (page) return std::move(*page);
  return tl::unexpected(rule_of(page.error()));
}

/// The neighbour's lock is taken, so this domain's must not be held (docs/locking.md).
GrantTable::Used GrantTable::use_neighbours(vmm::Hypercall& call, DomId owner, GrantRef ref, GrantUse use,
                                            GrantSpan span) {
  Used used = tl::unexpected(Rule::grant_no_domain);
  target_.without_lock(*call.held, call.vcpu, [&] {
    const auto visit = neighbours_->visit(owner);
    if (!visit) return;
    if (auto page = visit->use(ref, self_, use, span))
      used = std::move(*page);
    else
      used = tl::unexpected(rule_of(page.error()));
  });
  return used;
}

}  // namespace pinfold::devices
