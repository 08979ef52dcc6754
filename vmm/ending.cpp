#include "vmm/ending.hpp"

#include <utility>

namespace pinfold::vmm {

void DomainEnd::end(Ending ending, std::string why) {
  {
    const std::lock_guard lock(mutex_);
    if (end_.ending != Ending::none) return;
    end_ = End{ending, std::move(why)};
    ending_ = ending;
  }
  notify_();
}

End DomainEnd::result() const {
  const std::lock_guard lock(mutex_);
  return end_;
}

}  // namespace pinfold::vmm
