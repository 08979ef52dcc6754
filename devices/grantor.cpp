#include "devices/grantor.hpp"

namespace pinfold::devices {

tl::expected<GrantedPage, Errno> Grantor::use(GrantRef ref, DomId grantee, GrantUse use, GrantSpan span) {
  const std::lock_guard lock(mutex_);
  return GrantedPage::begin(
      entries_, ref, grantee, use,
      [this](Mfn frame, GrantUse wanted) { return frames_->hold(frame, wanted); }, span);
}

/// Who is not expected does not take the domain's lock.
Status Grantor::receive(GrantRef ref, DomId giver, Mfn frame) {
  if (!entries_->accepts_transfer(ref, giver)) return fail(Errno::eperm);
  const Status received = receiver_->receive(frame, [&] { return entries_->commit_transfer(ref, giver); });
  if (received) entries_->complete_transfer(ref, frame);
  return received;
}

}  // namespace pinfold::devices
