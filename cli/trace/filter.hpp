// Conditions that select events.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "trace/format.hpp"

namespace pinfold::trace {

/// A choice of events: those that meet each condition given; of several values of one condition, any. Without
/// conditions: all.
class Filter {
 public:
  /// Adds the conditions of a text such as "op=pin,unpin verdict=refused", separated by spaces or semicolons:
  ///   op=NAME        the kind (trace.hpp's names)
  ///   verdict=V      accepted, refused, or a rule's name such as l1.foreign-frame
  ///   frame=N        the frame that it is about, or that the entry names or named
  ///   table=N        the table whose entry it is
  ///   level=N        of the table or of the pin, 1 to 4
  ///   domain=N       whose event it is
  ///   lender=N       the domain whose grant it maps or unmaps; grant=N: the grant's reference
  ///   vcpu=N         the vCPU that made the request
  ///   address=N      virtual address (update-va; any byte of its page), machine address of the entry
  ///                  (any byte of it), or instruction pointer
  /// Numbers are decimal, or hexadecimal after 0x. The error names what is not understood.
  [[nodiscard]] tl::expected<void, std::string> add(std::string_view text);
  [[nodiscard]] static tl::expected<Filter, std::string> of(const std::vector<std::string>& texts);

  [[nodiscard]] bool matches(const LogEvent& event) const;
  [[nodiscard]] bool empty() const { return conditions_.empty(); }

 private:
  enum class Field : std::uint8_t { op, verdict, frame, table, level, vcpu, address, domain, lender, grant };
  struct Value {
    std::uint64_t number = 0;  ///< op: the kind; verdict: the rule.
    bool accepted = false, refused = false;
  };
  struct Condition {
    Field field;
    std::vector<Value> values;
  };
  static tl::expected<Value, std::string> value_of(Field field, std::string_view text);
  static bool meets(const LogEvent& event, Field field, const Value& value);

  std::vector<Condition> conditions_;
};

}  // namespace pinfold::trace
