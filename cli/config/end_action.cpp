#include "cli/config/end_action.hpp"

namespace pinfold::cli {

const char* name_of(EndAction action) {
  switch (action) {
    case EndAction::destroy: return "destroy";
    case EndAction::restart: return "restart";
    case EndAction::rename_restart: return "rename-restart";
    case EndAction::preserve: return "preserve";
  }
  return "";
}

std::optional<EndAction> end_action(std::string_view word) {
  for (const EndAction action :
       {EndAction::destroy, EndAction::restart, EndAction::rename_restart, EndAction::preserve})
    if (word == name_of(action)) return action;
  return std::nullopt;
}

}  // namespace pinfold::cli
