#include "cli/control/domain_queries.hpp"

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "cli/control/frame_report.hpp"
#include "cli/control/grant_report.hpp"
#include "pvmmu/walk_path.hpp"

namespace pinfold::cli {
namespace {

using pvmmu::OutsideUser;

/// Lets vCPUs have the lock: a mutex alone is not fair.
void let_others_in() { std::this_thread::sleep_for(std::chrono::microseconds(50)); }

bool is_paused(vmm::Domain& domain) {
  return domain.cpu(VcpuId(0)).stops().is_stopped_by(vmm::StopReason::user);
}

Json describe(const pvmmu::Validator& mmu, const pvmmu::WalkStep& step) {
  return {{"level", pvmmu::number(step.level)},
          {"table", step.table.raw()},
          {"type", pvmmu::name(mmu.frame(step.table).type)},
          {"type_references", mmu.frame(step.table).type_count},
          {"slot", step.slot},
          {"entry", hex(step.entry.raw())},
          {"mirror", step.mirror == no_mfn ? Json() : Json(step.mirror.raw())},
          {"mirrored", hex(step.mirrored.raw())}};
}

}  // namespace

std::vector<OutsideUser> outside_users(pvmmu::Held, vmm::Domain& domain) {
  using Kind = OutsideUser::Kind;
  std::vector<OutsideUser> all;
  for (std::uint32_t i = 0; i < domain.vcpu_count(); ++i) {
    const VcpuId vcpu(i);
    vmm::GuestCpu& cpu = domain.cpu(vcpu);
    const vmm::CpuState& s = cpu.state();
    if (s.kernel_root != no_mfn) all.push_back({s.kernel_root, Kind::kernel_root, vcpu});
    if (s.user_root != no_mfn) all.push_back({s.user_root, Kind::user_root, vcpu});
    for (const Mfn mfn : cpu.descriptors().gdt_frames()) all.push_back({mfn, Kind::gdt, vcpu});
    for (const Mfn mfn : cpu.descriptors().ldt_frames())
      if (mfn.raw() != 0) all.push_back({mfn, Kind::ldt, vcpu});
  }
  // A neighbour's are told with the grants by which it has them.
  constexpr auto monitor = vmm::FrameHolds::For::monitor;
  for (const Mfn mfn : domain.holds().frames(monitor, vmm::FrameUse::write))
    all.push_back({mfn, Kind::shared, VcpuId()});
  for (const Mfn mfn : domain.holds().frames(monitor, vmm::FrameUse::read))
    all.push_back({mfn, Kind::reader, VcpuId()});
  return all;
}

QueryResult query_tables(vmm::Domain& domain, devices::GrantTable& grants) {
  pvmmu::DomainLock lock(domain.mutex());
  const bool paused = is_paused(domain);
  const pvmmu::Inventory inventory =
      pvmmu::take_inventory(lock, domain.mmu(), outside_users(lock, domain), let_others_in);
  Json borrowed = mapped_grants(lock, grants, no_mfn, Whose::neighbours, let_others_in);
  lock.unlock();
  Json tables = Json::array();
  for (const pvmmu::TableReport& table : inventory.tables())
    tables.push_back(describe_table(inventory, table));
  return Json{{"paused", paused},
              {"domain", domain.id().raw()},
              {"tables", std::move(tables)},
              {"borrowed", std::move(borrowed)}};
}

QueryResult query_frame(vmm::Domain& domain, devices::GrantTable& grants, Mfn frame) {
  pvmmu::DomainLock lock(domain.mutex());
  const pvmmu::Validator& mmu = domain.mmu();
  if (!mmu.contains(frame))
    return tl::unexpected(fmt::format("the machine has no frame {:#x}; its last is {:#x}", frame.raw(),
                                      mmu.machine_frames() - 1));
  const bool paused = is_paused(domain);
  const auto report =
      FrameReport::of(lock, mmu, domain.machine().m2p(), frame, outside_users(lock, domain), [&] {
        lock.unlock();
        let_others_in();
        lock.lock();
      });
  Json mappings = mapped_grants(lock, grants, frame, Whose::anybodys, let_others_in);
  lock.unlock();
  Json answer = report.json();
  answer["domain"] = domain.id().raw();
  answer["mappings"] = std::move(mappings);
  answer["granted"] = grants_in_use(grants.entries(), frame);
  answer["paused"] = paused;
  return answer;
}

QueryResult query_walk(vmm::Domain& domain, VcpuId vcpu, bool user, GuestVaddr va) {
  if (!domain.has_cpu(vcpu.raw()))
    return tl::unexpected(fmt::format("the guest has vCPUs 0 to {}", domain.vcpu_count() - 1));
  const pvmmu::DomainLock lock(domain.mutex());
  const pvmmu::Validator& mmu = domain.mmu();
  const vmm::CpuState& state = domain.cpu(vcpu).state();
  const Mfn root = user ? state.user_root : state.kernel_root;
  if (root == no_mfn)
    return tl::unexpected(fmt::format("vCPU {} has no {} page table", vcpu.raw(), user ? "user" : "kernel"));
  const auto steps = pvmmu::walk_path(lock, mmu, root, va);
  if (steps.empty())
    return tl::unexpected(hex(va.raw()) +
                          " is not an address of the guest's (not canonical, or Xen's range)");
  Json answer{{"address", hex(va.raw())},
              {"vcpu", vcpu.raw()},
              {"mode", user ? "user" : "kernel"},
              {"root", root.raw()},
              {"processor_root", mmu.mirror_of_root(lock, root).raw()},
              {"steps", Json::array()}};
  for (const pvmmu::WalkStep& step : steps) answer["steps"].push_back(describe(mmu, step));
  const pvmmu::WalkStep& last = steps.back();
  const bool mapped = last.level == pvmmu::Level::l1 && last.entry.present();
  answer["mapped"] = mapped;
  if (!mapped) return answer;
  const auto leaf = mmu.walk(lock, root, va);
  answer["writable"] = leaf && leaf->writable;
  answer["executable"] = leaf && leaf->executable;
  answer["frame"] = describe_record(mmu, domain.machine().m2p(), last.entry.mfn());
  return answer;
}

}  // namespace pinfold::cli
