#include "pvmmu/trace.hpp"

#include <array>

namespace pinfold::pvmmu {

std::string_view name(TraceKind kind) {
  static constexpr auto names = std::to_array<std::string_view>({
#define X(id, name) name,
      PINFOLD_TRACE_KINDS(X)
#undef X
  });
  return names[static_cast<std::size_t>(kind)];
}

std::string_view name(GrantPurpose purpose) {
  static constexpr auto names =
      std::to_array<std::string_view>({"map", "unmap", "copy from", "copy to", "transfer to"});
  static_assert(names.size() == grant_purposes);
  return names[static_cast<std::size_t>(purpose)];
}

}  // namespace pinfold::pvmmu
