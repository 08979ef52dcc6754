#include "devices/granted_page.hpp"

#include <cstdlib>
#include <utility>

namespace pinfold::devices {

GrantedPage& GrantedPage::operator=(GrantedPage&& other) noexcept {
  if (this == &other) return *this;
  end();
  entries_ = std::move(other.entries_);
  ref_ = other.ref_;
  use_ = other.use_;
  frame_ = other.frame_;
  page_ = std::move(other.page_);
  return *this;
}

vmm::SharedPage& GrantedPage::shared() {
  if (!present() || use_ != GrantUse::write) std::abort();
  return page_;
}

void GrantedPage::end() {
  if (!present()) return;
  page_ = {};
  entries_->release(ref_, use_);
  entries_ = nullptr;
}

tl::expected<GrantedPage, Errno> GrantedPage::begin(std::shared_ptr<GrantEntries> entries, GrantRef ref,
                                                    DomId grantee, GrantUse use, const Hold& hold,
                                                    GrantSpan span) {
  const auto frame = entries->acquire(ref, grantee, use, span);
  if (!frame) return fail(frame.error());
  auto page = hold(*frame, use);
  if (!page) {
    entries->release(ref, use);
    return fail(page.error());
  }
  return GrantedPage(std::move(entries), ref, use, *frame, std::move(*page));
}

tl::expected<GrantedPage, Errno> GrantAccess::use(GrantRef ref, GrantUse use) {
  return GrantedPage::begin(entries_, ref, monitor_domain, use,
                            [this](Mfn frame, GrantUse wanted) { return frames_->hold(frame, wanted); });
}

}  // namespace pinfold::devices
