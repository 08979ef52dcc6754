// A request for one entry of a list.
#pragma once

#include "pvmmu/pte.hpp"

namespace pinfold::pvmmu {

/// What an entry is to become; `where` as Validator::update() has it.
struct EntryUpdate {
  MachineAddr where;
  Pte want;
};

}  // namespace pinfold::pvmmu
