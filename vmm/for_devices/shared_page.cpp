#include "vmm/for_devices/shared_page.hpp"

#include <array>
#include <cstdlib>

namespace pinfold::vmm {

SharedPage SharedPage::of_monitor() {
  struct alignas(page_size) Page {
    std::array<std::byte, page_size> bytes{};
  };
  const auto page = std::make_shared<Page>();
  Hold hold;
  hold.base = page->bytes.data();
  return SharedPage(
      std::shared_ptr<const Hold>(new Hold(std::move(hold)), [page](const Hold* h) { delete h; }));
}

void SharedPage::copy_out(std::size_t offset, std::span<std::byte> to) const {
  check(offset, to.size(), 1);
  std::memcpy(to.data(), hold_->base + offset, to.size());
}

void SharedPage::copy_in(std::size_t offset, std::span<const std::byte> from) {
  check(offset, from.size(), 1);
  if (may_be_written()) std::memcpy(hold_->base + offset, from.data(), from.size());
}

void SharedPage::copy_from(std::size_t offset, const SharedPage& from, std::size_t from_offset,
                           std::size_t size) {
  check(offset, size, 1);
  from.check(from_offset, size, 1);
  if (may_be_written()) std::memmove(hold_->base + offset, from.hold_->base + from_offset, size);
}

std::optional<iovec> SharedPage::transfer_area(std::size_t offset, std::size_t size, bool write) const {
  check(offset, size, 1);
  if (write && !may_be_written()) return std::nullopt;
  return iovec{hold_->base + offset, size};
}

void SharedPage::check(std::size_t offset, std::size_t size, std::size_t alignment) const {
  if (hold_ == nullptr || offset > page_size || size > page_size - offset || offset % alignment != 0)
    std::abort();
}

}  // namespace pinfold::vmm
