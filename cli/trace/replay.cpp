#include "trace/replay.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pinfold::trace {
namespace {

std::string inconsistent(const char* what) { return fmt::format("the log contradicts itself: {}", what); }

}  // namespace

tl::expected<std::unique_ptr<Replay>, std::string> Replay::of(const LogHeader& header) {
  auto memory = SparseMemory::create(header.most_frames);
  auto m2p = SparseMemory::create(header.most_frames / pvmmu::entries_per_table + 1);
  for (const auto* part : {&memory, &m2p})
    if (!*part) return tl::unexpected(part->error());
  std::unique_ptr<Replay> replay(new Replay(header, std::move(*memory), std::move(*m2p)));
  if (auto failure = replay->begin(header)) return tl::unexpected(*failure);
  return replay;
}

Replay::Replay(const LogHeader& header, SparseMemory memory, SparseMemory m2p)
    : machine_{std::move(memory),
               std::move(m2p),
               {header.machine_frames, header.most_frames},
               header,
               [this](DomId domain) { return lives(domain); }} {
  machine_.frames.withhold(header.withheld);
}

bool Replay::lives(DomId domain) const {
  const auto found = domains_.find(domain);
  return found != domains_.end() && !found->second->has_ended();
}

std::uint64_t Replay::living() const {
  return static_cast<std::uint64_t>(
      std::ranges::count_if(domains_, [](const auto& domain) { return !domain.second->has_ended(); }));
}

std::uint64_t Replay::operations() const {
  std::uint64_t all = operations_of_replaced_;
  for (const auto& [id, domain] : domains_) all += domain->operations();
  return all;
}

const ReplayedDomain& Replay::domain_of(Mfn mfn) const {
  for (const auto& [id, domain] : domains_)
    if (domain->mmu().owns(mfn)) return *domain;
  return *domains_.begin()->second;
}

std::optional<std::string> Replay::begin(const LogHeader& header) {
  auto domain = ReplayedDomain::of(header, machine_);
  if (!domain) return domain.error();
  // Nobody asks for those that have ended, once another has come.
  for (auto old = domains_.begin(); old != domains_.end();) {
    const bool ended = old->second->has_ended();
    if (ended) operations_of_replaced_ += old->second->operations();
    old = ended ? domains_.erase(old) : std::next(old);
  }
  domains_.emplace(header.domain, std::move(*domain));
  ++begun_;
  return std::nullopt;
}

std::optional<std::string> Replay::begin(const LogEvent& event) {
  const auto header = header_of_domain(machine_.header, event.domain, event.contents);
  if (!header || lives(event.domain) || header->version == oldest_version)
    return inconsistent("a domain begins that can't be, or is there");
  if (header->machine_frames < machine_.frames.size())
    return inconsistent("a domain begins in a machine that is smaller than it was");
  if (header->machine_frames > machine_.frames.size()) {
    if (!machine_.frames.make_room(header->machine_frames)) return "there is no room for so large a machine";
    machine_.frames.grow(header->machine_frames);
  }
  return begin(*header);
}

std::optional<std::string> Replay::step(const LogEvent& event) {
  if (event.kind == pvmmu::TraceKind::domain_begins) return begin(event);
  const auto found = domains_.find(event.domain);
  if (found == domains_.end()) return inconsistent("an event of a domain that has not begun");
  ReplayedDomain& domain = *found->second;
  if (auto difference = domain.step(event)) return difference;
  if (event.kind == pvmmu::TraceKind::destroy && domain.compared_end()) ++compared_;
  return std::nullopt;
}

}  // namespace pinfold::trace
