#include "cli/toolstack/asked.hpp"

namespace pinfold::cli {

Json status_of(const Asked& asked) {
  Json status{{"name", asked.guest.name}, {"id", asked.guest.note.id}};
  if (auto answer = asked.answer.and_then(decode_answer)) {
    answer->erase("name");
    status.update(*answer);
  } else {
    status["state"] = "silent";
  }
  return status;
}

}  // namespace pinfold::cli
