// The records of a validator, for tests that put a frame into a state that operations would not give it.
#pragma once

#include "pvmmu/validator.hpp"

namespace pinfold::pvmmu {

/// A friend of Validator.
struct RecordAccess {
  [[nodiscard]] static DomainRecords& of(Validator& mmu) { return mmu.records_; }
  static void log_stale(Validator& mmu, MachineAddr where, Pte before, Pte now) {
    if (mmu.logs_stale_) mmu.log_stale(where, before, now);
  }
};

}  // namespace pinfold::pvmmu
