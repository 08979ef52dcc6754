// Descriptors that a program inherits, as its command line names them.
#pragma once

#include <string_view>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli {

/// What is before the next `separator`, or all; that and the separator are removed from `rest`.
[[nodiscard]] std::string_view take_until(std::string_view& rest, char separator);

/// The inherited descriptor of this number, above those of stdin, stdout and stderr; from here on it is
/// close-on-exec. Not open if the text names none.
[[nodiscard]] vmm::Fd inherited_descriptor(std::string_view number);

}  // namespace pinfold::cli
