#include "cli/control/grant_report.hpp"

#include <vector>

namespace pinfold::cli {
namespace {

constexpr std::size_t most = 4096;

Json describe(const devices::MappedGrant& mapping) {
  return {{"handle", mapping.handle},        {"owner", mapping.owner.raw()}, {"grant", mapping.ref.raw()},
          {"frame", mapping.frame.raw()},    {"writable", mapping.writable}, {"by_entry", mapping.by_entry},
          {"for_device", mapping.for_device}};
}

}  // namespace

Json grants_in_use(devices::GrantEntries& entries, Mfn frame) {
  Json all = Json::array();
  for (const devices::GrantInUse& grant : entries.in_use(frame)) {
    if (all.size() == most) break;
    all.push_back({{"grant", grant.ref.raw()},
                   {"domain", grant.grantee.raw()},
                   {"readers", grant.readers},
                   {"writers", grant.writers}});
  }
  return all;
}

Json mapped_grants(pvmmu::DomainLock& lock, const devices::GrantTable& grants, Mfn frame, Whose whose,
                   const std::function<void()>& between) {
  Json all = Json::array();
  std::uint32_t next = 0;
  for (bool more = true; more && all.size() < most;) {
    std::vector<devices::MappedGrant> some;
    more = grants.list_mapped(lock, next, frame, some);
    for (const devices::MappedGrant& mapping : some)
      if (all.size() < most && (whose == Whose::anybodys || mapping.owner != grants.domain()))
        all.push_back(describe(mapping));
    if (!more) break;
    lock.unlock();
    between();
    lock.lock();
  }
  return all;
}

}  // namespace pinfold::cli
