#include "cli/control/domain_queries.hpp"

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "pvmmu/walk_path.hpp"

namespace pinfold::cli {
namespace {

using pvmmu::EntryPlace;
using pvmmu::FrameType;
using pvmmu::OutsideUser;

/// Of the users of one table or frame, so many are told; all are counted.
constexpr std::size_t most_places = 64, most_entries = 4096, most_addresses = 8;

/// Lets vCPUs have the lock: a mutex alone is not fair.
void let_others_in() { std::this_thread::sleep_for(std::chrono::microseconds(50)); }

const char* name_of(OutsideUser::Kind kind) {
  switch (kind) {
    case OutsideUser::Kind::kernel_root: return "kernel_root";
    case OutsideUser::Kind::user_root: return "user_root";
    case OutsideUser::Kind::gdt: return "gdt";
    case OutsideUser::Kind::ldt: return "ldt";
    case OutsideUser::Kind::shared: return "shared";
    case OutsideUser::Kind::other: break;
  }
  return "other";
}

Json place(const EntryPlace& entry) {
  return {{"table", entry.table.raw()},
          {"level", pvmmu::number(entry.level)},
          {"slot", entry.slot},
          {"entry", hex(entry.entry.raw())}};
}

Json users(const std::vector<OutsideUser>& all, Mfn frame) {
  Json list = Json::array();
  for (const OutsideUser& user : all) {
    if (user.frame != frame) continue;
    Json& one = list.emplace_back(Json{{"kind", name_of(user.kind)}});
    if (user.kind != OutsideUser::Kind::shared) one["vcpu"] = user.vcpu.raw();
  }
  return list;
}

bool is_paused(vmm::Domain& domain) { return domain.cpu(VcpuId(0)).is_stopped_by(vmm::StopReason::user); }

Json describe(const pvmmu::Inventory& inventory, const pvmmu::TableReport& table) {
  Json named_by = Json::array();
  const auto entries = inventory.entries_naming(table.table);
  for (const EntryPlace& entry : entries.first(std::min(entries.size(), most_places)))
    named_by.push_back(place(entry));
  return {{"table", table.table.raw()},
          {"level", pvmmu::number(table.level)},
          {"pinned", table.pinned},
          {"validated", table.validated},
          {"allocated", table.allocated},
          {"references", table.references},
          {"type_references", table.type_references},
          {"present", table.present},
          {"named_by", named_by},
          {"named_by_total", entries.size()},
          {"outside", users(inventory.users_outside(table.table), table.table)},
          {"explained", inventory.explains(table)}};
}

/// What the view lets the guest do with a frame, as the validator keeps it.
const char* view_of(const pvmmu::Validator& mmu, Mfn frame) {
  if (!mmu.owns(frame)) return "no access";
  return pvmmu::is_protected(mmu.frame(frame).type) ? "read-only" : "read-write";
}

Json describe_record(const vmm::Domain& domain, const pvmmu::Validator& mmu, vmm::Machine& machine, Mfn mfn) {
  Json frame{{"frame", mfn.raw()}};
  if (!mmu.owns(mfn)) {
    // Of a frame of another domain, only that it is foreign: the rest is its owner's business.
    const DomId owner = mmu.frame(mfn).owner();
    frame["owner"] = owner == no_domain ? Json() : Json(owner.raw());
    frame["owned"] = false;
    frame["view"] = view_of(mmu, mfn);
    return frame;
  }
  const pvmmu::Frame& record = mmu.frame(mfn);
  const std::uint64_t pfn =
      machine.m2p().load(mfn.raw() / pvmmu::entries_per_table, mfn.raw() % pvmmu::entries_per_table);
  frame.update(
      {{"owner", domain.id().raw()},
       {"owned", true},
       {"pfn", pfn == no_pfn.raw() ? Json() : Json(pfn)},
       {"type", pvmmu::name(record.type)},
       {"type_references", record.type_count},
       {"references", record.refs},
       {"pinned", bool{record.pinned}},
       {"validated", bool{record.validated}},
       {"partial", bool{record.partial}},
       {"allocated", bool{record.allocated}},
       {"special", bool{record.special}},
       {"view", view_of(mmu, mfn)},
       {"mirror",
        record.mirror == 0 ? Json() : Json(mmu.mirrors().frame(pvmmu::MirrorId(record.mirror)).raw())}});
  return frame;
}

struct Found {
  std::vector<EntryPlace> entries;  ///< The first `most_entries`.
  std::size_t total = 0;
};

Found entries_of(pvmmu::DomainLock& lock, const pvmmu::Validator& mmu, Mfn frame) {
  Found found;
  std::vector<EntryPlace> some;
  pvmmu::FrameSearch search(frame);
  for (bool more = true; more;) {
    more = search.step(lock, mmu, some);
    found.total += some.size();
    const std::size_t room = most_entries - found.entries.size();
    found.entries.insert(found.entries.end(), some.begin(),
                         some.begin() + static_cast<std::ptrdiff_t>(std::min(room, some.size())));
    some.clear();
    lock.unlock();
    let_others_in();
    lock.lock();
  }
  return found;
}

Json with_addresses(const pvmmu::Inventory& inventory, const EntryPlace& entry) {
  Json result = place(entry);
  const auto seen = inventory.addresses(entry, most_addresses);
  Json addresses = Json::array();
  for (const pvmmu::SeenAt& at : seen.seen)
    addresses.push_back({{"root", at.root.raw()}, {"address", hex(at.va.raw())}});
  result["writable"] = entry.entry.writable();
  result["addresses"] = addresses;
  result["addresses_complete"] = seen.complete;
  return result;
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
    const vmm::CpuState& s = domain.cpu(vcpu).state();
    if (s.kernel_root != no_mfn) all.push_back({s.kernel_root, Kind::kernel_root, vcpu});
    if (s.user_root != no_mfn) all.push_back({s.user_root, Kind::user_root, vcpu});
    for (std::size_t n = 0; n < s.gdt_frames; ++n) all.push_back({s.gdt[n], Kind::gdt, vcpu});
    for (const Mfn mfn : s.ldt)
      if (mfn.raw() != 0) all.push_back({mfn, Kind::ldt, vcpu});
  }
  for (const Mfn mfn : domain.held_frames()) all.push_back({mfn, Kind::shared, VcpuId()});
  return all;
}

QueryResult query_tables(vmm::Domain& domain) {
  pvmmu::DomainLock lock(domain.mutex());
  const bool paused = is_paused(domain);
  const pvmmu::Inventory inventory =
      pvmmu::take_inventory(lock, domain.mmu(), outside_users(lock, domain), let_others_in);
  lock.unlock();
  Json tables = Json::array();
  for (const pvmmu::TableReport& table : inventory.tables()) tables.push_back(describe(inventory, table));
  return Json{{"paused", paused}, {"tables", std::move(tables)}};
}

QueryResult query_frame(vmm::Domain& domain, Mfn frame) {
  pvmmu::DomainLock lock(domain.mutex());
  const pvmmu::Validator& mmu = domain.mmu();
  if (!mmu.contains(frame))
    return tl::unexpected(fmt::format("the machine has no frame {:#x}; its last is {:#x}", frame.raw(),
                                      mmu.frames().size() - 1));
  Json answer = describe_record(domain, mmu, domain.machine(), frame);
  answer["paused"] = is_paused(domain);
  if (!mmu.owns(frame)) return answer;
  const std::vector<OutsideUser> outside = outside_users(lock, domain);
  const Found found = entries_of(lock, mmu, frame);
  const pvmmu::Inventory inventory = pvmmu::take_inventory(lock, mmu, outside, let_others_in);
  lock.unlock();
  Json entries = Json::array();
  for (const EntryPlace& entry : found.entries) entries.push_back(with_addresses(inventory, entry));
  answer["entries"] = std::move(entries);
  answer["entries_total"] = found.total;
  answer["outside"] = users(outside, frame);
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
  answer["frame"] = describe_record(domain, mmu, domain.machine(), last.entry.mfn());
  return answer;
}

}  // namespace pinfold::cli
