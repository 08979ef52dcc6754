#include "cli/control/guest_requests.hpp"

#include <fmt/format.h>

namespace pinfold::cli {
namespace {

using devices::xenstore::ShutdownRequest;
namespace xenstore = devices::xenstore;

constexpr std::uint64_t kib_per_page = page_size / 1024;
constexpr std::uint64_t least_target_kib = 1024;

tl::unexpected<std::string> refuse(std::string why) { return tl::unexpected(std::move(why)); }

/// The nodes are there while the guest runs.
GuestRequests::Answer written(const Status& done) {
  if (done) return {};
  return refuse("the guest's nodes are gone from the store");
}

}  // namespace

GuestRequests::Answer GuestRequests::ask_shutdown(ShutdownRequest kind) {
  return written(xenstore::ask_shutdown(*store_, domain_.id(), kind));
}

bool GuestRequests::is_shutdown_pending() { return xenstore::is_shutdown_pending(*store_, domain_.id()); }

GuestRequests::Answer GuestRequests::withdraw_shutdown() {
  return written(xenstore::withdraw_shutdown(*store_, domain_.id()));
}

GuestRequests::Answer GuestRequests::send_sysrq(char key) {
  const Status done = xenstore::send_sysrq(*store_, domain_.id(), key);
  if (!done && done.error() == Errno::einval) return refuse("a SysRq key is one letter or digit");
  return written(done);
}

GuestRequests::Answer GuestRequests::set_memory_target(std::uint64_t kib) {
  if (kib < least_target_kib) return refuse("the guest keeps at least 1 MiB");
  {
    const pvmmu::DomainLock lock(domain_.mutex());
    // The limit first: when the guest reads its new target, it may have that much.
    if (!domain_.memory_limit().set(lock, kib / kib_per_page))
      return refuse(
          fmt::format("at most {} KiB, the guest's maxmem", domain_.memory_limit().most() * kib_per_page));
  }
  return written(xenstore::set_memory_target(*store_, domain_.id(), kib));
}

GuestRequests::Answer GuestRequests::set_vcpu_online(std::uint32_t vcpu, bool online) {
  const Status done = xenstore::set_vcpu_online(*store_, domain_.id(), vcpu, online);
  if (!done && done.error() == Errno::enoent)
    return refuse(fmt::format("the guest has vCPUs 0 to {}", domain_.vcpu_count() - 1));
  return written(done);
}

GuestRequests::Answer GuestRequests::trigger_nmi(std::uint32_t vcpu) {
  if (!domain_.has_cpu(vcpu))
    return refuse(fmt::format("the guest has vCPUs 0 to {}", domain_.vcpu_count() - 1));
  const pvmmu::DomainLock lock(domain_.mutex());
  domain_.cpu(VcpuId(vcpu)).send_nmi(lock);
  return {};
}

}  // namespace pinfold::cli
