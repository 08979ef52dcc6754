// The host's processors for a guest's vCPUs, as `cpus` of xl.cfg(5) has them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "vmm/processors.hpp"

namespace pinfold::cli {

/// Lists of processors, as the user wrote them: what they stand for depends on the host.
struct CpuLists {
  std::optional<std::string> of_all;  ///< For all vCPUs.
  std::vector<std::string> of_each;   ///< Else for vCPU 0, 1, …; the others have none.
};

/// The list's processors: "all", "0-3,^1", "all,^7". The items count from left to right; one with ^ takes
/// processors out. An error says which item is wrong, that nothing is left, or that a processor is not of
/// the host's. `all` is what the host has, for this process.
[[nodiscard]] tl::expected<vmm::Processors, std::string> processors_of(std::string_view list,
                                                                       const vmm::Processors& all);

/// What is wrong with the lists on whatever host.
[[nodiscard]] std::optional<std::string> error_in(const CpuLists& lists);

/// The processors of each vCPU; for vCPUs without a list, `all`. Empty: there is no list. An error is one
/// line.
[[nodiscard]] tl::expected<std::vector<vmm::Processors>, std::string> processors_of(
    const CpuLists& lists, std::uint32_t vcpus, const vmm::Processors& all);

}  // namespace pinfold::cli
