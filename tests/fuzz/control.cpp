// A line on the control socket, an answer, and the note in a lock file: any bytes are an error or mean what
// they say.
#include <string>

#include "cli/control/guest_note.hpp"
#include "cli/control/protocol.hpp"
#include "input.hpp"

namespace {

using namespace pinfold::cli;
using pinfold::fuzz::promise;

void check_request(std::string_view line) {
  const auto request = decode_request(line);
  if (!request) {
    const std::string answer = encode_answer(tl::unexpected(request.error()));
    promise(answer.find('\n') == std::string::npos, "an answer is one line");
    return;
  }
  const auto again = decode_request(encode_request(request->command, request->arguments));
  // The members' order means nothing.
  using Unordered = nlohmann::json;
  promise(again && again->command == request->command &&
              Unordered(again->arguments) == Unordered(request->arguments),
          "a request that was sent on is the same");
  for (const char* key : {"frame", "vcpu", "kib", "count", "address"}) {
    (void)number_in(request->arguments, key);
    (void)address_in(request->arguments, key);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(data, data + size);
  check_request(text);
  if (const auto answer = decode_answer(text))
    promise(decode_answer(encode_answer(*answer)) == answer, "as it was");
  const GuestNote note = GuestNote::parse(text);
  promise(note.id == 0 || (note.supervisor > 0 && note.monitor >= 0), "no process has such a number");
  promise(note.id == 0 || GuestNote::parse(note.text()) == note, "a note is read as it was written");
  return 0;
}
