// A log as a trace for ui.perfetto.dev.
#pragma once

#include <iosfwd>
#include <string>

#include "trace/reader.hpp"

namespace pinfold::report {

struct PerfettoResult {
  std::uint64_t events = 0;
  std::string trouble;  ///< Why the log could not be read to its end; empty: it could.
};

/// Writes Perfetto's TrackEvent protobuf: the domain as a process; the builder and each vCPU as a track, with
/// what a vCPU left the guest for as slices, the operations as slices within, refusals and what happened
/// within an operation as instants; counters of tables by level, descriptor pages, pins, and frames mapped
/// writable. Times are nanoseconds since the log's begin. About 60 bytes an event.
PerfettoResult write_perfetto(trace::LogReader& log, std::ostream& to);

}  // namespace pinfold::report
