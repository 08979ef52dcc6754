// The first page tables of a domain, for the validator to judge like any others.
#pragma once

#include "loader/layout.hpp"
#include "loader/machine_memory.hpp"

namespace pinfold::loader {

/// Writes the tables of both mappings into their frames. Entries name machine frames. Leaves are writable and
/// dirty, so that the first write to a page needs no visit to the monitor; those of page tables are
/// read-only. All upper entries permit everything. Takes time proportional to what is mapped.
void write_initial_tables(const Layout& layout, const PseudoPhysical& memory);

}  // namespace pinfold::loader
