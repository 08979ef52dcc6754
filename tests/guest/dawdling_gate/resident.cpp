// TEST ONLY. The resident path, with a gate that dawdles: now and then it stays inside for longer than
// anybody spins, with the domain's lock shared or a table's lock held. Everything else is
// vmm/gate/resident.cpp. Linked into pinfold_dawdling_gate; nothing of this is in pinfold.
#define Inside PromptInside
#define TableLocks PromptTableLocks
#include "vmm/gate/inside.hpp"
#undef Inside
#undef TableLocks

namespace pinfold::vmm::gate {

/// One time in 16, for some hundred thousand instructions.
[[gnu::always_inline]] inline void dawdle(std::uint64_t& random) {
  random = random * 6364136223846793005 + 1442695040888963407;  // Knuth's MMIX
  if (random >> 60 != 0) return;
  for (unsigned i = 0; i < 100'000; ++i) asm volatile("pause");
}

class Inside {
 public:
  Inside(StatePage& state, ControlPage& control) : inside_(state, control) {
    // The last word of the list is one that no short list uses.
    if (inside_) dawdle(state.requests[resident_requests - 1].val);
  }
  explicit operator bool() const { return static_cast<bool>(inside_); }

 private:
  PromptInside inside_;
};

struct TableLocks {
  ControlPage& control;
  std::uint64_t cpu_plus_1;

  class Locked {
   public:
    Locked(std::uint64_t& owner, std::uint64_t as) : locked_(owner, as) {
      std::uint64_t seed = __builtin_ia32_rdtsc();
      if (locked_) dawdle(seed);
    }
    explicit operator bool() const { return static_cast<bool>(locked_); }

   private:
    PromptTableLocks::Locked locked_;
  };
  [[nodiscard]] Locked lock(Mfn table) const { return Locked(control.lock_of(table).owner, cpu_plus_1); }
};

}  // namespace pinfold::vmm::gate

#include "vmm/gate/resident.cpp"
