// Frames that a domain gives to another one for good (GNTTABOP_transfer). As on Xen, a frame that the
// receiver does not take is lost to the giver all the same: then it is the machine's.
#include "devices/grant_table.hpp"

namespace pinfold::devices {
namespace {

using pvmmu::GrantPurpose;
using pvmmu::Rule;

static_assert(sizeof(gnttab_transfer) == 24 && offsetof(gnttab_transfer, status) == 16);

}  // namespace

/// What is wrong is found out in Xen's order: first the frame leaves, then the receiver is looked for. No
/// frame's number is too large for an entry of version 1 (GNTST_address_too_big).
std::int16_t GrantTable::transfer(vmm::Hypercall& call, const gnttab_transfer& args) {
  const Mfn frame(args.mfn);
  if (DomId(args.domid) == self_) return transfer_to_itself(call, GrantRef(args.ref), frame);
  if (const Status given = target_.give_away(*call.held, call.vcpu, frame); !given)
    return given.error() == Errno::einval ? GNTST_bad_page : GNTST_general_error;
  const auto refused = hand_over(call, DomId(args.domid), GrantRef(args.ref), frame);
  const vmm::GrantAttempt attempt{GrantPurpose::transfer, GrantName(DomId(args.domid), GrantRef(args.ref)),
                                  frame, 0, refused};
  if (!refused) {
    target_.tell(*call.held, attempt);
    return GNTST_okay;
  }
  target_.drop_given(*call.held, frame);
  return refuse(call, attempt, *refused);
}

std::int16_t GrantTable::transfer_to_itself(vmm::Hypercall& call, GrantRef ref, Mfn frame) {
  const Status done =
      target_.give_to_itself(*call.held, frame, [&] { return entries_->commit_transfer(ref, self_); });
  const vmm::GrantAttempt attempt{GrantPurpose::transfer, GrantName(self_, ref), frame, 0, {}};
  if (!done && done.error() == Errno::einval) return GNTST_bad_page;
  if (!done) return refuse(call, attempt, Rule::grant_not_accepted);
  target_.tell(*call.held, attempt);
  entries_->complete_transfer(ref, frame);
  return GNTST_okay;
}

/// The receiver's lock is taken, so this domain's must not be held (docs/locking.md).
std::optional<Rule> GrantTable::hand_over(vmm::Hypercall& call, DomId receiver, GrantRef ref, Mfn frame) {
  std::optional<Rule> refused = Rule::grant_no_domain;
  if (!neighbours_) return refused;
  target_.without_lock(*call.held, call.vcpu, [&] {
    const auto visit = neighbours_->visit(receiver);
    if (!visit) return;
    refused.reset();
    if (!visit->receive(ref, self_, frame)) refused = Rule::grant_not_accepted;
  });
  return refused;
}

}  // namespace pinfold::devices
