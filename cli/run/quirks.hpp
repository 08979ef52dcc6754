// Words for a kernel's command line, without which it would not boot on this host.
#pragma once

#include <string>
#include <vector>

#include "loader/kernel_image.hpp"
#include "vmm/cpuid_policy.hpp"

namespace pinfold::cli {

/// A kernel that stumbles over the platform, and what helps it.
struct Quirk {
  const char* word;    ///< For the command line; constant.
  const char* reason;  ///< What happens without it; for the user.
};

/// Those that this kernel needs on this processor. `processor`: CPUID as the processor answers it.
[[nodiscard]] std::vector<Quirk> quirks_of(const loader::KernelImage& kernel,
                                           const vmm::CpuidSource& processor);

/// A command line, and what the user should know of it: a line each.
struct QuirkedCommandLine {
  std::string text;
  std::vector<std::string> notices;
};

/// Adds the words to the command line. One that it has already is not added; one for which there is no room
/// (loader::max_command_line) is left out. The notices say both.
[[nodiscard]] QuirkedCommandLine with_quirks(std::string command_line, const std::vector<Quirk>& quirks);

}  // namespace pinfold::cli
