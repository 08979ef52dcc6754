#include "devices/granted_page.hpp"

#include <cstdlib>
#include <utility>

namespace pinfold::devices {

GrantedPage& GrantedPage::operator=(GrantedPage&& other) noexcept {
  if (this == &other) return *this;
  end();
  entries_ = std::exchange(other.entries_, nullptr);
  ref_ = other.ref_;
  use_ = other.use_;
  page_ = std::exchange(other.page_, {});
  return *this;
}

vmm::SharedPage& GrantedPage::shared() {
  if (!present() || use_ != GrantUse::write) std::abort();
  return page_;
}

void GrantedPage::end() {
  if (!present()) return;
  page_ = {};
  std::exchange(entries_, nullptr)->release(ref_, use_);
}

tl::expected<GrantedPage, Errno> GrantAccess::use(GrantRef ref, GrantUse use) {
  const auto frame = entries_->acquire(ref, monitor_domain, use);
  if (!frame) return fail(frame.error());
  auto page = frames_->hold(*frame);
  if (!page) {
    entries_->release(ref, use);
    return fail(page.error());
  }
  return GrantedPage(*entries_, ref, use, std::move(*page));
}

}  // namespace pinfold::devices
