// Two domains on one machine, each with several vCPUs that run, exit, change tables, and flush when the
// monitor makes them flush.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "operation.hpp"
#include "translation_cache.hpp"
#include "vmm/cpu/flush_duties.hpp"

namespace pinfold::processors {

inline constexpr std::uint32_t vcpus = 3;
inline constexpr std::size_t roots_a_vcpu = 2;  ///< Kernel's and user's.
/// With so many retired mirrors a vCPU asks for their reuse. The monitor uses StaleLog::enough.
inline constexpr std::size_t retired_enough = 3;

/// How often each thing happened that the test is about.
struct Tally {
  std::uint64_t operations = 0, lent = 0, given_back = 0, mapped = 0, made_tables = 0, upper_changes = 0,
                entries = 0, flushes = 0, waits = 0, reused_mirrors = 0, ended_tables_remembered = 0,
                outdated_uppers = 0, arrivals_on_ended_roots = 0;
};

/// One domain: the validator, the flush protocol, and its vCPUs' caches. A vCPU's steps are those of GuestCpu
/// (run_loop.cpp, tlb_flushes.cpp), in the same order.
class RunningDomain {
 public:
  RunningDomain(pvmmu::test::FakeMachine& machine, DomId id);
  /// All vCPUs on one small tree of tables.
  void start();

  /// `cpu` is out of the guest and makes a hypercall.
  void operate(std::uint32_t cpu, const pvmmu::property::Operation& op, Tally& tally);
  /// The same with pages that processors may have cached: maps a page by a table in use, or removes a
  /// mapping, after which the page may become a table or another domain's.
  void change_mapping(std::uint32_t cpu, std::mt19937_64& random, Tally& tally);
  /// Maps a frame that the other domain granted, in a table in use, or ends such a mapping: then the frame
  /// may become a table there, or anybody's.
  void use_grant(std::uint32_t cpu, RunningDomain& owner, std::mt19937_64& random, Tally& tally);
  /// MMUEXT_NEW_BASEPTR: loads some frame, which may be empty, or the first root again. After that nobody may
  /// refer to the other root any more.
  void change_root(std::uint32_t cpu, std::mt19937_64& random, Tally& tally);
  /// MMUEXT_TLB_FLUSH_MULTI, _ALL: those whose bits are set.
  void request_flush(std::uint32_t cpu, unsigned mask, Tally& tally);
  /// Tries to enter the guest, or makes the next step towards that. Returns what is wrong if it enters
  /// wrongly.
  [[nodiscard]] std::optional<std::string> go_on(std::uint32_t cpu, Tally& tally);
  /// In the guest: the gate has loaded the root that the guest is to run on.
  void arrive(std::uint32_t cpu) {
    if (std::exchange(cpus_[cpu].arrives, false)) load_root(cpus_[cpu]);
  }
  /// A vCPU that is interrupted in the gate lets the gate finish.
  void leave(std::uint32_t cpu) {
    arrive(cpu);
    flushes_.left(VcpuId(cpu));
  }
  [[nodiscard]] bool in_guest(std::uint32_t cpu) const { return flushes_.in_guest(VcpuId(cpu)); }

  /// After every step: lets processors speculate, and checks that nothing in their caches does harm.
  [[nodiscard]] std::optional<std::string> check(Tally& tally);
  pvmmu::test::FakeDomain& domain() { return domain_; }

 private:
  struct Cpu {
    TranslationCache cache;
    std::array<Mfn, roots_a_vcpu> roots{no_mfn, no_mfn};
    std::uint64_t flushed_at = 0;
    /// What the processor's CR3 names: a root's mirror, and which incarnation of it.
    MirrorId cr3 = pvmmu::no_mirror;
    std::optional<std::uint64_t> cr3_life;
    bool arrives = false;  ///< In the guest, but still in the gate, on the root that it left on.
    /// By vCPU: since when it must have flushed before this vCPU runs guest code.
    std::array<std::uint64_t, vcpus> must_flush{};
    struct Reuse {
      std::uint64_t end, mark;
    };
    std::optional<Reuse> reuse;  ///< Of retired mirrors, under way: it waits for the others.
  };
  void load_root(Cpu& cpu);
  void flush_all(std::uint32_t cpu);
  void finish_operation(std::uint32_t cpu, Tally& tally);
  void apply(Cpu& cpu, const pvmmu::property::Operation& op);
  void guest_store(const pvmmu::property::Operation& op);

  pvmmu::test::FakeMachine& machine_;
  pvmmu::test::FakeDomain domain_;
  vmm::FlushDuties flushes_{vcpus, false};
  std::array<Cpu, vcpus> cpus_;
  std::vector<Mfn> held_;
  struct Borrowed {
    MachineAddr where;
    Pte entry;
  };
  std::vector<Borrowed> borrowed_;
  Mfn first_root_ = no_mfn;
  Incarnations tables_;
  std::uint64_t now_ = 0;
};

class World {
 public:
  World();
  /// Makes random steps. Returns what went wrong at one of them, if anything did.
  [[nodiscard]] std::optional<std::string> run(std::uint64_t seed, std::size_t steps, Tally& tally);

 private:
  [[nodiscard]] std::optional<std::string> step(const pvmmu::property::Operation& op, std::mt19937_64& random,
                                                Tally& tally);
  pvmmu::test::FakeMachine machine_{pvmmu::property::machine_frames};
  std::array<std::unique_ptr<RunningDomain>, 2> domains_;
};

}  // namespace pinfold::processors
