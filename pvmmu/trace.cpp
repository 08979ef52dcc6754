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

}  // namespace pinfold::pvmmu
