// Events for people, a line each, and for programs, a JSON object each.
#pragma once

#include <functional>
#include <string>

#include "trace/filter.hpp"
#include "trace/format.hpp"
#include "trace/log.hpp"

namespace pinfold::trace {

/// The name of a guest kernel's address, "function+0x12"; empty function: addresses stay numbers.
using Namer = std::function<std::string(std::uint64_t address)>;

/// One line, without its end. Refusals begin with "REFUSED".
[[nodiscard]] std::string line_of(const LogHeader& header, const LogEvent& event, const Namer& namer);
/// One JSON object, without a line's end. Frames and entries are strings such as "0x1f"; what an event has
/// nothing to say of is left out.
[[nodiscard]] std::string json_of(const LogHeader& header, const LogEvent& event, const Namer& namer);
/// What a cause is: "hypercall 1", "exception 14", or "other".
[[nodiscard]] std::string cause_name(std::uint64_t cause);

/// Writes lines to a stream as a log's blocks come, only those that pass the filter.
[[nodiscard]] std::unique_ptr<LogOutput> text_output(std::FILE* to, Filter filter, Namer namer);

}  // namespace pinfold::trace
