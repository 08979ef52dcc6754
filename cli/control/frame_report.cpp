#include "cli/control/frame_report.hpp"

#include <algorithm>

namespace pinfold::cli {
namespace {

using pvmmu::EntryPlace;
using pvmmu::OutsideUser;

/// The report names so many users of one table or frame, and counts all of them.
constexpr std::size_t most_places = 64, most_entries = 4096, most_addresses = 8;

const char* name_of(OutsideUser::Kind kind) {
  switch (kind) {
    case OutsideUser::Kind::kernel_root: return "kernel_root";
    case OutsideUser::Kind::user_root: return "user_root";
    case OutsideUser::Kind::gdt: return "gdt";
    case OutsideUser::Kind::ldt: return "ldt";
    case OutsideUser::Kind::shared: return "shared";
    case OutsideUser::Kind::reader: return "reader";
    case OutsideUser::Kind::root: return "root";
    case OutsideUser::Kind::descriptors: return "descriptors";
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
    if (user.kind != OutsideUser::Kind::shared && user.kind != OutsideUser::Kind::reader)
      one["vcpu"] = user.vcpu.raw();
  }
  return list;
}

/// What the view lets the guest do with a frame, as the validator keeps it.
const char* view_of(const pvmmu::Validator& mmu, Mfn frame) {
  if (!mmu.owns(frame)) {
    const pvmmu::Loan loan = mmu.borrowed().of(frame).loan();
    if (loan == pvmmu::Loan::none) return "no access";
    return loan == pvmmu::Loan::read_only ? "read-only" : "read-write";
  }
  return pvmmu::is_protected(mmu.frame(frame).type) ? "read-only" : "read-write";
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

}  // namespace

Json describe_table(const pvmmu::Inventory& inventory, const pvmmu::TableReport& table) {
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

Json describe_record(const pvmmu::Validator& mmu, pvmmu::Pages m2p, Mfn mfn) {
  Json frame{{"frame", mfn.raw()}};
  if (!mmu.owns(mfn)) {
    // Of a frame of another domain, only that it is foreign, and what this domain has mapped of it by grants:
    // the rest is its owner's business.
    const DomId owner = mmu.contains(mfn) ? mmu.frame(mfn).owner() : no_domain;
    frame["owner"] = owner == no_domain ? Json() : Json(owner.raw());
    frame["owned"] = false;
    const auto mappings = mmu.borrowed().of(mfn);
    frame["borrowed"] =
        mappings.all() == 0 ? Json() : Json({{"readers", mappings.readers}, {"writers", mappings.writers}});
    frame["view"] = view_of(mmu, mfn);
    return frame;
  }
  const pvmmu::Frame record = mmu.frame(mfn);
  const std::uint64_t pfn =
      m2p.load(mfn.raw() / pvmmu::entries_per_table, mfn.raw() % pvmmu::entries_per_table);
  frame.update(
      {{"owner", record.owner().raw()},
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

FrameReport FrameReport::of(pvmmu::Held held, const pvmmu::Validator& mmu, pvmmu::Pages m2p, Mfn frame,
                            std::vector<OutsideUser> outside, const std::function<void()>& between) {
  FrameReport report;
  report.frame_ = frame;
  report.record_ = describe_record(mmu, m2p, frame);
  report.searched_ = mmu.owns(frame) || mmu.borrowed().of(frame).all() != 0;
  if (!report.searched_) return report;
  std::vector<EntryPlace> some;
  for (pvmmu::FrameSearch search(frame); search.step(held, mmu, some); between()) report.take(some);
  report.take(some);
  std::vector<pvmmu::TableReport> tables;
  for (pvmmu::TableSearch search; search.step(held, mmu, tables);) between();
  report.inventory_ = pvmmu::Inventory(std::move(tables), std::move(outside));
  return report;
}

void FrameReport::take(std::vector<EntryPlace>& some) {
  total_ += some.size();
  const std::size_t room = std::min(most_entries - entries_.size(), some.size());
  entries_.insert(entries_.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(room));
  some.clear();
}

Json FrameReport::json() const {
  Json answer = record_;
  if (!searched_) return answer;
  Json entries = Json::array();
  for (const EntryPlace& entry : entries_) entries.push_back(with_addresses(inventory_, entry));
  answer["entries"] = std::move(entries);
  answer["entries_total"] = total_;
  answer["outside"] = users(inventory_.users_outside(frame_), frame_);
  return answer;
}

}  // namespace pinfold::cli
