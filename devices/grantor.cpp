#include "devices/grantor.hpp"

namespace pinfold::devices {

tl::expected<GrantedPage, Errno> Grantor::use(GrantRef ref, DomId grantee, GrantUse use) {
  const std::lock_guard lock(mutex_);
  return GrantedPage::begin(entries_, ref, grantee, use,
                            [this](Mfn frame, GrantUse wanted) { return frames_->hold(frame, wanted); });
}

}  // namespace pinfold::devices
