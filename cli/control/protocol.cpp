#include "cli/control/protocol.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "cli/visible_text.hpp"

namespace pinfold::cli {
namespace {

tl::unexpected<std::string> wrong(std::string what) { return tl::unexpected(std::move(what)); }

/// Makes all texts in it visible(). False: it has more levels than any answer, or a key as no answer has.
bool make_visible(Json& value, int levels = 32) {
  if (levels == 0) return false;
  if (value.is_string()) value = visible(value.get_ref<const std::string&>());
  if (value.is_array())
    return std::ranges::all_of(value, [&](Json& item) { return make_visible(item, levels - 1); });
  if (!value.is_object()) return true;
  for (const auto& member : value.items())
    if (visible(member.key()) != member.key() || !make_visible(member.value(), levels - 1)) return false;
  return true;
}

tl::expected<Json, std::string> decode(std::string_view line) {
  Json object = Json::parse(line, nullptr, false);
  if (!object.is_object()) return wrong("not a JSON object");
  const auto version = object.find("pinfold");
  if (version == object.end() || *version != control_version)
    return wrong(fmt::format("not version {} of the protocol", control_version));
  return object;
}

}  // namespace

std::string encode_request(std::string_view command, const Json& arguments) {
  Json request{{"pinfold", control_version}, {"command", command}};
  request.update(arguments);
  return request.dump();
}

std::string encode_answer(const tl::expected<Json, std::string>& answer) {
  Json line{{"pinfold", control_version}, {"ok", answer.has_value()}};
  if (answer)
    line["answer"] = *answer;
  else
    line["error"] = answer.error();
  // What a name or message holds need not be UTF-8.
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

tl::expected<Request, std::string> decode_request(std::string_view line) {
  auto object = decode(line);
  if (!object) return tl::unexpected(object.error());
  const auto command = object->find("command");
  if (command == object->end() || !command->is_string()) return wrong("no command");
  std::string name = command->get<std::string>();
  return Request{std::move(name), std::move(*object)};
}

tl::expected<Json, std::string> decode_answer(std::string_view line) {
  auto object = decode(line);
  if (!object) return wrong("the guest's monitor answered with something else: " + object.error());
  const auto nonsense = [] { return wrong("the guest's monitor answered with something else"); };
  if (!make_visible(*object)) return nonsense();
  const auto ok = object->find("ok");
  const auto answer = object->find("answer");
  if (ok != object->end() && *ok == true && answer != object->end() && answer->is_object())
    return std::move(*answer);
  const auto error = object->find("error");
  if (error != object->end() && error->is_string()) return wrong(error->get<std::string>());
  return nonsense();
}

std::string hex(std::uint64_t value) { return fmt::format("{:#x}", value); }

tl::expected<std::uint64_t, std::string> parse_number(std::string_view text) {
  std::string_view digits = text;
  const bool hexadecimal = digits.starts_with("0x") || digits.starts_with("0X");
  if (hexadecimal) digits.remove_prefix(2);
  std::uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, hexadecimal ? 16 : 10);
  if (error != std::errc() || end != digits.data() + digits.size())
    return wrong(fmt::format("not a number: {}", text));
  return value;
}

tl::expected<std::uint64_t, std::string> number_in(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned())
    return wrong(fmt::format("no number \"{}\"", key));
  return found->get<std::uint64_t>();
}

std::string text_in(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

bool flag_in(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && *found == true;
}

tl::expected<std::uint64_t, std::string> address_in(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return wrong(fmt::format("no address \"{}\"", key));
  return parse_number(found->get_ref<const std::string&>());
}

}  // namespace pinfold::cli
