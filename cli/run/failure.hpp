// Why there is no guest.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "cli/exit_codes.hpp"

namespace pinfold::cli {

struct Failure {
  ExitCode code;
  std::string message;  ///< One line.
};
template <class T>
using Result = tl::expected<T, Failure>;

[[nodiscard]] inline tl::unexpected<Failure> failure(ExitCode code, std::string message) {
  return tl::unexpected(Failure{code, std::move(message)});
}

}  // namespace pinfold::cli
