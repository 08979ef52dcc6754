// The control socket's protocol: a line of JSON each way.
//
//   request  {"pinfold":1,"command":"frame","frame":291}
//   answer   {"pinfold":1,"ok":true,"answer":{…}}
//            {"pinfold":1,"ok":false,"error":"…"}
//
// Frames, slots, levels and counts are numbers. Addresses and page-table entries, which may not fit into a
// double, are texts: "0xffffffff81000000". docs/control.md has the commands.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace pinfold::cli {

using Json = nlohmann::ordered_json;

inline constexpr int control_version = 1;

[[nodiscard]] std::string encode_request(std::string_view command, const Json& arguments);
[[nodiscard]] std::string encode_answer(const tl::expected<Json, std::string>& answer);

/// A request's command and all of its members, or what is wrong with it.
struct Request {
  std::string command;
  Json arguments;
};
[[nodiscard]] tl::expected<Request, std::string> decode_request(std::string_view line);
/// The answer's content, an object; a refusal, or what is wrong with it, as the error. All texts are
/// visible(), because the monitor's guest can have written them, or taken over the monitor.
[[nodiscard]] tl::expected<Json, std::string> decode_answer(std::string_view line);

/// "0x" and lower-case digits.
[[nodiscard]] std::string hex(std::uint64_t value);
/// A number as people write it: decimal, or hexadecimal after 0x. Nothing else, and nothing behind it.
[[nodiscard]] tl::expected<std::uint64_t, std::string> parse_number(std::string_view text);
/// A member of a request that is a whole number from 0 up.
[[nodiscard]] tl::expected<std::uint64_t, std::string> number_in(const Json& object, const char* key);
/// A member that is a text; empty if there is none.
[[nodiscard]] std::string text_in(const Json& object, const char* key);
/// A member that is `true`.
[[nodiscard]] bool flag_in(const Json& object, const char* key);
/// A member that is an address, "0x…".
[[nodiscard]] tl::expected<std::uint64_t, std::string> address_in(const Json& object, const char* key);

}  // namespace pinfold::cli
