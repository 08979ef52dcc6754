// Frames that a domain gives to another one for good (GNTTABOP_transfer). As on Xen, a frame that the
// receiver does not take is lost to the giver all the same: then it is the machine's.
#include "devices/grant_table.hpp"

namespace pinfold::devices {
namespace {

static_assert(sizeof(gnttab_transfer) == 24 && offsetof(gnttab_transfer, status) == 16);

}  // namespace

/// What is wrong is found out in Xen's order: first the frame leaves, then the receiver is looked for. No
/// frame's number is too large for an entry of version 1 (GNTST_address_too_big).
std::int16_t GrantTable::transfer(vmm::Hypercall& call, const gnttab_transfer& args) {
  const Mfn frame(args.mfn);
  if (DomId(args.domid) == self_) return transfer_to_itself(call, GrantRef(args.ref), frame);
  if (const Status given = target_.give_away(*call.held, call.vcpu, frame); !given)
    return given.error() == Errno::einval ? GNTST_bad_page : GNTST_general_error;
  const std::int16_t status = hand_over(call, DomId(args.domid), GrantRef(args.ref), frame);
  if (status != GNTST_okay) target_.drop_given(*call.held, frame);
  return status;
}

std::int16_t GrantTable::transfer_to_itself(vmm::Hypercall& call, GrantRef ref, Mfn frame) {
  const Status done =
      target_.give_to_itself(*call.held, frame, [&] { return entries_->commit_transfer(ref, self_); });
  if (!done) return done.error() == Errno::einval ? GNTST_bad_page : GNTST_general_error;
  entries_->complete_transfer(ref, frame);
  return GNTST_okay;
}

/// The receiver's lock is taken, so this domain's must not be held (docs/locking.md).
std::int16_t GrantTable::hand_over(vmm::Hypercall& call, DomId receiver, GrantRef ref, Mfn frame) {
  std::int16_t status = GNTST_bad_domain;
  if (!neighbours_) return status;
  target_.without_lock(*call.held, call.vcpu, [&] {
    const auto visit = neighbours_->visit(receiver);
    if (visit) status = visit->receive(ref, self_, frame) ? GNTST_okay : GNTST_general_error;
  });
  return status;
}

}  // namespace pinfold::devices
