// The control socket's queries about a running domain. A query holds the domain's lock for some 20
// microseconds at a time, however long it takes in all. The guest runs in between, so observations of
// different moments may contradict each other. For a paused guest they don't.
#pragma once

#include "cli/control/protocol.hpp"
#include "devices/grant_table.hpp"
#include "pvmmu/inventory.hpp"
#include "vmm/domain.hpp"

namespace pinfold::cli {

using QueryResult = tl::expected<Json, std::string>;

/// Every live page table with its users:
/// {"paused":…,"tables":[{"table","level","pinned","validated","references","type_references","present",
/// "mirror","named_by":[place…],"named_by_total","outside":[user…],"explained"}]}
/// A place is {"table","level","slot","entry"}; a user is {"kind","vcpu"}.
[[nodiscard]] QueryResult query_tables(vmm::Domain& domain, devices::GrantTable& grants);

/// One frame and everything that refers to it:
/// {"frame","owner","type",…,"entries":[place + "addresses"…],"entries_total","outside":[user…]}
[[nodiscard]] QueryResult query_frame(vmm::Domain& domain, devices::GrantTable& grants, Mfn frame);

/// The way of an address through the tables of a vCPU's kernel or user root:
/// {"root","processor_root","loaded","steps":[{"level","table","slot","entry","mirror","mirrored"}…],"frame"…}
[[nodiscard]] QueryResult query_walk(vmm::Domain& domain, VcpuId vcpu, bool user, GuestVaddr va);

/// Loaded roots and descriptor tables, which vCPUs hold.
[[nodiscard]] std::vector<pvmmu::OutsideUser> outside_users(pvmmu::Held held, vmm::Domain& domain);

}  // namespace pinfold::cli
