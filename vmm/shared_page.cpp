#include "vmm/shared_page.hpp"

#include <cstdlib>

namespace pinfold::vmm {

void SharedPage::copy_out(std::size_t offset, std::span<std::byte> to) const {
  check(offset, to.size(), 1);
  std::memcpy(to.data(), base_ + offset, to.size());
}

void SharedPage::copy_in(std::size_t offset, std::span<const std::byte> from) {
  check(offset, from.size(), 1);
  std::memcpy(base_ + offset, from.data(), from.size());
}

void SharedPage::check(std::size_t offset, std::size_t size, std::size_t alignment) const {
  if (base_ == nullptr || offset > page_size || size > page_size - offset || offset % alignment != 0)
    std::abort();
}

}  // namespace pinfold::vmm
