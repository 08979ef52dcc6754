#include "world.hpp"

#include <algorithm>
#include <bit>

namespace pinfold::processors {

using pvmmu::FrameType;
using pvmmu::property::Kind;
using pvmmu::property::Operation;

RunningDomain::RunningDomain(pvmmu::test::FakeMachine& machine, DomId id)
    : machine_(machine), domain_(machine, id, pvmmu::test::FakeDomainOptions{128, 30, false, nullptr, 60}) {}

void RunningDomain::start() {
  const auto tree = pvmmu::test::build_tree(machine_, domain_);
  first_root_ = tree.l4;
  for (Cpu& cpu : cpus_) (void)domain_.mmu.load_root(domain_.held, cpu.roots[0], tree.l4);
}

/// Every processor of the domain may write a page that the view lets the guest write.
void RunningDomain::guest_store(const Operation& op) {
  if (!domain_.mmu.owns(op.mfn)) return;
  const pvmmu::Frame frame = machine_.frames[op.mfn];
  if (frame.type_count == 0 || !pvmmu::is_protected(frame.type))
    machine_.poke(op.mfn, op.slot, Pte(op.value));
}

/// Refusals do not matter here; unfinished work stays unfinished until an operation goes on with it.
void RunningDomain::apply(Cpu& cpu, const Operation& op) {
  pvmmu::Validator& mmu = domain_.mmu;
  const auto& held = domain_.held;
  const Pte want(op.value);
  Mfn& root = cpu.roots[op.choice % roots_a_vcpu];
  switch (op.kind) {
    case Kind::guest_store: return guest_store(op);
    case Kind::update:
      (void)mmu.update(held, pvmmu::test::entry_at(op.mfn, op.slot), want, pvmmu::Preserve::nothing);
      return;
    case Kind::update_va: (void)mmu.update_va(held, root, op.va, want); return;
    case Kind::pin: (void)mmu.pin(held, static_cast<pvmmu::Level>(op.choice), op.mfn); return;
    case Kind::unpin: (void)mmu.unpin(held, op.mfn); return;
    case Kind::load_root: (void)mmu.load_root(held, root, op.mfn); return;
    case Kind::unload_root:  // the kernel's can only be replaced
      if (cpu.roots[1] != no_mfn) mmu.unload_root(held, cpu.roots[1]);
      return;
    case Kind::hold:
      if (mmu.hold(held, op.mfn, static_cast<FrameType>(op.choice))) held_.push_back(op.mfn);
      return;
    case Kind::release:
      if (held_.empty()) return;
      mmu.release(held, held_.back());
      held_.pop_back();
      return;
    case Kind::allocate: (void)mmu.allocate(held); return;
    case Kind::deallocate:
    case Kind::exchange: (void)mmu.deallocate(held, op.mfn); return;
    case Kind::write_descriptor:
      (void)mmu.write_descriptor(held, pvmmu::test::entry_at(op.mfn, op.slot), op.value);
      return;
    case Kind::hide_machphys:
      if (root != no_mfn) mmu.hide_machphys(held, root);
      return;
    case Kind::touch:
      (void)mmu.fill_windows(held, root, op.va);
      if (const auto leaf = mmu.walk(held, root, op.va)) (void)mmu.touch(held, *leaf, true);
      return;
    default: return;
  }
}

void RunningDomain::operate(std::uint32_t cpu, const Operation& op, Tally& tally) {
  ++now_;
  ++tally.operations;
  domain_.mmu.set_budget(domain_.held, pvmmu::Budget(op.slot % 2 == 0 ? 4096 : 600));
  apply(cpus_[cpu], op);
  finish_operation(cpu, tally);
}

void RunningDomain::change_mapping(std::uint32_t cpu, std::mt19937_64& random, Tally& tally) {
  const auto tables = cpus_[cpu].cache.l1_tables();
  if (tables.empty()) return;
  const Mfn table = domain_.mirrors.table_of(tables[random() % tables.size()]);
  if (!domain_.mmu.owns(table) || machine_.frames[table].type != FrameType::l1) return;
  ++now_;
  ++tally.operations;
  const auto& held = domain_.held;
  const std::size_t slot = random() % 4;
  const MachineAddr where = pvmmu::test::entry_at(table, slot);
  const Pte there = machine_.peek(table, slot);
  const std::uint64_t choice = random() % 4;
  if (!there.present() || choice == 0) {
    const Mfn page(1 + random() % (machine_.frames.size() - 1));
    tally.mapped +=
        domain_.mmu.update(held, where, Pte(page, pvmmu::test::rw), pvmmu::Preserve::nothing) ? 1 : 0;
  } else {
    if (choice == 1) (void)domain_.mmu.deallocate(held, there.mfn());
    (void)domain_.mmu.update(held, where, Pte(), pvmmu::Preserve::nothing);
    if (choice == 2) {
      tally.made_tables += domain_.mmu.pin(held, pvmmu::Level::l1, there.mfn()) ? 1 : 0;
    }
  }
  finish_operation(cpu, tally);
}

void RunningDomain::use_grant(std::uint32_t cpu, RunningDomain& owner, std::mt19937_64& random,
                              Tally& tally) {
  const auto tables = cpus_[cpu].cache.l1_tables();
  if (tables.empty()) return;
  const Mfn table = domain_.mirrors.table_of(tables[random() % tables.size()]);
  if (!domain_.mmu.owns(table) || machine_.frames[table].type != FrameType::l1) return;
  ++now_;
  ++tally.operations;
  const auto let_go = [&owner](Pte entry) {
    if (entry.writable())
      owner.domain_.mmu.release(owner.domain_.held, entry.mfn());
    else
      owner.domain_.mmu.release_readable(owner.domain_.held, entry.mfn());
  };
  if (!borrowed_.empty() && random() % 2 == 0) {
    const std::size_t n = random() % borrowed_.size();
    const Borrowed lent = borrowed_[n];
    if (domain_.mmu.unmap_granted(domain_.held, lent.where, lent.entry)) {
      borrowed_.erase(borrowed_.begin() + static_cast<std::ptrdiff_t>(n));
      let_go(lent.entry);
      ++tally.given_back;
    }
    request_flush(cpu, ~0U, tally);
  } else {
    const Mfn page(1 + random() % (machine_.frames.size() - 1));
    const bool writable = random() % 3 != 0;
    const Pte entry(page, writable ? pvmmu::test::rw : pvmmu::test::ro);
    auto& mmu = owner.domain_.mmu;
    const bool held = writable ? mmu.hold(owner.domain_.held, page, FrameType::writable).has_value()
                               : mmu.hold_readable(owner.domain_.held, page).has_value();
    const MachineAddr where = pvmmu::test::entry_at(table, 4 + random() % 4);
    if (held && domain_.mmu.map_granted(domain_.held, where, entry, mmu.domain())) {
      borrowed_.push_back({where, entry});
      ++tally.lent;
    } else if (held) {
      let_go(entry);
    }
  }
  owner.tables_.observe(owner.domain_);
  finish_operation(cpu, tally);
}

void RunningDomain::finish_operation(std::uint32_t cpu, Tally& tally) {
  tables_.observe(domain_);
  if (!domain_.mmu.take_flush_duty()) return;
  ++tally.upper_changes;
  cpus_[cpu].must_flush.fill(now_);
  flush_all(cpu);
}

void RunningDomain::load_root(Cpu& cpu) {
  cpu.cr3 = MirrorId(machine_.frames[cpu.roots[0]].mirror);
  cpu.cr3_life = tables_.live(cpu.cr3);
}

void RunningDomain::flush_all(std::uint32_t cpu) {
  for (std::uint32_t of = 0; of < vcpus; ++of) (void)flushes_.request(VcpuId(cpu), VcpuId(of));
}

void RunningDomain::change_root(std::uint32_t cpu, std::mt19937_64& random, Tally& tally) {
  const Mfn any(1 + random() % (machine_.frames.size() - 1));
  Mfn& root = cpus_[cpu].roots[0];
  ++now_;
  ++tally.operations;
  (void)domain_.mmu.load_root(domain_.held, root, root == first_root_ ? any : first_root_);
  finish_operation(cpu, tally);
}

void RunningDomain::request_flush(std::uint32_t cpu, unsigned mask, Tally& tally) {
  ++now_;
  ++tally.flushes;
  for (std::uint32_t of = 0; of < vcpus; ++of) {
    if ((mask >> of & 1) == 0) continue;
    cpus_[cpu].must_flush[of] = now_;
    (void)flushes_.request(VcpuId(cpu), VcpuId(of));
  }
}

std::optional<std::string> RunningDomain::go_on(std::uint32_t cpu, Tally& tally) {
  const VcpuId id(cpu);
  Cpu& self = cpus_[cpu];
  ++now_;
  if (!self.reuse && domain_.mirrors.retired() >= retired_enough) {
    self.reuse = Cpu::Reuse{domain_.mirrors.retired_end(), flushes_.mark()};
    flush_all(cpu);
  }
  if (flushes_.awaits(id)) {
    ++tally.waits;
    return std::nullopt;  // the others were kicked, and leave at some step
  }
  if (self.reuse) {
    if (!flushes_.all_dropped_since(self.reuse->mark))
      return std::string("mirrors are to be reused that a vCPU may walk");
    tally.reused_mirrors += domain_.mirrors.retired();
    domain_.mmu.retired_mirrors_forgotten(domain_.held, self.reuse->end);
    self.reuse.reset();
  }
  if (flushes_.due(id)) {
    self.cache.flush();
    self.flushed_at = now_;
    flushes_.handed_over(id);
  }
  if (self.cr3 == pvmmu::no_mirror || flushes_.root_may_be_gone(id)) {
    load_root(self);
    flushes_.root_loaded(id);
  }
  if (const char* objection = flushes_.objection_to_entry(id)) return std::string("enters ") + objection;
  for (std::uint32_t of = 0; of < vcpus; ++of)
    if ((of == cpu || in_guest(of)) && cpus_[of].flushed_at < self.must_flush[of])
      return "vCPU " + std::to_string(cpu) + " goes on before vCPU " + std::to_string(of) +
             " has flushed, which it asked for";
  flushes_.entered(id);
  self.arrives = true;
  tally.arrivals_on_ended_roots += tables_.live(self.cr3) != self.cr3_life ? 1 : 0;
  ++tally.entries;
  return std::nullopt;
}

std::optional<std::string> RunningDomain::check(Tally& tally) {
  tables_.observe(domain_);
  for (std::uint32_t i = 0; i < vcpus; ++i) {
    Cpu& cpu = cpus_[i];
    const std::string who = "vCPU " + std::to_string(i) + ": ";
    if (in_guest(i))
      if (auto wrong = cpu.cache.reused_table(tables_)) return who + *wrong;
    if (const auto life = tables_.live(cpu.cr3); cpu.arrives && life && life != cpu.cr3_life)
      return who + "the gate runs on a root whose mirror is another table's by now";
    std::vector<MirrorId> roots;
    for (const Mfn root : cpu.roots)
      if (root != no_mfn) roots.emplace_back(machine_.frames[root].mirror);
    cpu.cache.fill(domain_, tables_, roots);
    if (auto outdated = cpu.cache.outdated_upper(domain_, tables_)) {
      ++tally.outdated_uppers;
      if (!flushes_.due(VcpuId(i))) return who + *outdated + ", and no flush is due";
    }
    tally.ended_tables_remembered += cpu.cache.remembers_ended_tables(tables_) ? 1 : 0;
    if (in_guest(i))
      if (auto wrong = cpu.cache.forbidden_access(machine_, domain_)) return who + *wrong;
  }
  return std::nullopt;
}

World::World() {
  for (std::size_t d = 0; d < domains_.size(); ++d)
    domains_[d] = std::make_unique<RunningDomain>(machine_, DomId(static_cast<std::uint16_t>(d + 1)));
  // The domains get frames in turn, as the generator of operations assumes.
  for (std::uint64_t i = 0; i < 24; ++i)
    for (const std::size_t d : {1, 0}) (void)domains_[d]->domain().allocate();
  for (const auto& domain : domains_) domain->start();
}

std::optional<std::string> World::step(const Operation& op, std::mt19937_64& random, Tally& tally) {
  RunningDomain& domain = *domains_[static_cast<std::size_t>(op.domain)];
  const auto cpu = static_cast<std::uint32_t>(random() % vcpus);
  const std::uint64_t choice = random() % 100;
  if (domain.in_guest(cpu)) {
    choice < 70 ? domain.leave(cpu) : domain.arrive(cpu);
    return std::nullopt;
  }
  if (choice < 35) {
    domain.operate(cpu, op, tally);
    return std::nullopt;
  }
  if (choice < 50) {
    domain.change_mapping(cpu, random, tally);
    return std::nullopt;
  }
  if (choice < 57) {
    domain.request_flush(cpu, static_cast<unsigned>(random() % (1U << vcpus)), tally);
    return std::nullopt;
  }
  if (choice < 62) {
    domain.change_root(cpu, random, tally);
    return std::nullopt;
  }
  if (choice < 70) {
    domain.use_grant(cpu, *domains_[op.domain == 0 ? 1 : 0], random, tally);
    return std::nullopt;
  }
  return domain.go_on(cpu, tally);
}

std::optional<std::string> World::run(std::uint64_t seed, std::size_t steps, Tally& tally) {
  std::mt19937_64 random(seed);
  // The generator's first operations fill frames, so that there can be trees: they are made at once.
  const auto operations = pvmmu::property::random_operations(seed, steps);
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const Operation& op = operations[i];
    auto wrong = [&]() -> std::optional<std::string> {
      if (op.kind != Kind::guest_store) return step(op, random, tally);
      domains_[static_cast<std::size_t>(op.domain)]->operate(0, op, tally);
      return std::nullopt;
    }();
    for (const auto& domain : domains_)
      if (!wrong) wrong = domain->check(tally);
    if (wrong) return "step " + std::to_string(i) + " (" + op.describe() + "): " + *wrong;
  }
  return std::nullopt;
}

}  // namespace pinfold::processors
