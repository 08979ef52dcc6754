// `pinfold explain --log`: what a frame is at a moment of a log, and why something was refused then.
#pragma once

#include <filesystem>
#include <optional>

#include "cli/control/protocol.hpp"
#include "pvmmu/pte.hpp"

namespace pinfold::cli {

struct LogQuestion {
  std::filesystem::path log;
  std::filesystem::path system_map;  ///< Empty: addresses have no names.
  /// The moment after the event of this number; else the last one before the domain ended.
  std::optional<std::uint64_t> at;
  /// What is to be explained; without it, the event.
  std::optional<Mfn> frame;
  bool as_table = false;  ///< The frame has to be a page table.
};

/// Lives the log again up to the moment. The answer:
/// {"event": the moment's number, "line": of it, "refused": its rule as explain_rule has it, or null,
///  "frame": as explain_frame has it, or null,
///  "refusals": {"total", "by_rule": {rule: count}, "last": [line…]} about the frame until then,
///  "note": what is wrong with the log's end, or null}
/// The error: the log can't be read so far, goes another way when it is lived again, or has no such table.
[[nodiscard]] tl::expected<Json, std::string> explain_in_log(const LogQuestion& question);

[[nodiscard]] std::string log_explanation_text(const Json& explained);

}  // namespace pinfold::cli
