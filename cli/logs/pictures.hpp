// `pinfold report` and `pinfold export`: a log of MMU events as pictures.
#pragma once

#include <filesystem>
#include <string>

namespace pinfold::cli {

struct PictureOptions {
  std::filesystem::path log;
  std::filesystem::path output;
  std::filesystem::path system_map;  ///< report: for the names of functions; empty: addresses stay numbers.
};

/// A page for a browser. Returns the exit code; says on stderr what was wrong. A log that is cut off or
/// damaged gives a page of what precedes that.
int make_report(const PictureOptions& options);
/// A trace for ui.perfetto.dev, likewise.
int export_perfetto(const PictureOptions& options);

}  // namespace pinfold::cli
