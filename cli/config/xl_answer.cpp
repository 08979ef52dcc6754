#include "cli/config/xl_answer.hpp"

#include <nlohmann/json.hpp>

namespace pinfold::cli {
namespace {

using Json = nlohmann::json;

// A value is bytes, JSON has characters: each byte is the character of that number.

std::string to_characters(std::string_view bytes) {
  std::string characters;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      characters += c;
    } else {
      characters += static_cast<char>(0xc0 | (byte >> 6));
      characters += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return characters;
}

/// What is no answer of to_characters() throws; decode_xl_answer() catches it.
std::string to_bytes(const Json& value) {
  const auto& characters = value.get_ref<const std::string&>();
  std::string bytes;
  for (std::size_t i = 0; i < characters.size(); ++i) {
    const auto lead = static_cast<unsigned char>(characters[i]);
    if (lead < 0x80) {
      bytes += characters[i];
    } else {
      // The parser accepts UTF-8 only, so that a second byte follows.
      if (lead > 0xc3) throw std::out_of_range("a character above 255");
      bytes += static_cast<char>((lead & 3) << 6 | (characters.at(++i) & 0x3f));
    }
  }
  return bytes;
}

Json encode(const XlValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return to_characters(*text);
  Json list = Json::array();
  for (const auto& item : std::get<XlList>(value))
    list.push_back(item ? Json(to_characters(*item)) : Json(nullptr));
  return list;
}

XlValue decode_value(const Json& value) {
  if (value.is_string()) return to_bytes(value);
  XlList list;
  for (const Json& item : value.get_ref<const Json::array_t&>()) {
    if (item.is_null())
      list.emplace_back();
    else
      list.emplace_back(to_bytes(item));
  }
  return list;
}

Json encode(const tl::expected<XlDisk, std::string>& answer) {
  if (!answer) return {{"error", to_characters(answer.error())}};
  const XlDisk& disk = *answer;
  return {{"target", to_characters(disk.target)},
          {"vdev", to_characters(disk.vdev)},
          {"script", to_characters(disk.script)},
          {"backend", to_characters(disk.backend)},
          {"format", to_characters(disk.format)},
          {"backend_type", to_characters(disk.backend_type)},
          {"specification", to_characters(disk.specification)},
          {"read_only", disk.read_only},
          {"cdrom", disk.cdrom},
          {"direct_io_safe", disk.direct_io_safe},
          {"colo", disk.colo},
          {"discard", disk.discard ? Json(*disk.discard) : Json(nullptr)}};
}

tl::expected<XlDisk, std::string> decode_disk(const Json& json) {
  if (json.contains("error")) return tl::unexpected(to_bytes(json.at("error")));
  XlDisk disk;
  disk.target = to_bytes(json.at("target"));
  disk.vdev = to_bytes(json.at("vdev"));
  disk.script = to_bytes(json.at("script"));
  disk.backend = to_bytes(json.at("backend"));
  disk.format = to_bytes(json.at("format"));
  disk.backend_type = to_bytes(json.at("backend_type"));
  disk.specification = to_bytes(json.at("specification"));
  disk.read_only = json.at("read_only").get<bool>();
  disk.cdrom = json.at("cdrom").get<bool>();
  disk.direct_io_safe = json.at("direct_io_safe").get<bool>();
  disk.colo = json.at("colo").get<bool>();
  if (!json.at("discard").is_null()) disk.discard = json.at("discard").get<bool>();
  return disk;
}

XlAnswer decode(const Json& json) {
  XlAnswer answer;
  for (const Json& error : json.at("syntax_errors").get_ref<const Json::array_t&>()) {
    const Json& line = error.at("line");
    if (!line.is_number_unsigned() || line.get<std::uint64_t>() > 0xffff'ffff)
      throw std::out_of_range("no number of a line");
    answer.syntax_errors.push_back({line.get<unsigned>(), to_bytes(error.at("message"))});
  }
  for (const auto& [key, value] : json.at("values").get_ref<const Json::object_t&>())
    answer.values[key] = decode_value(value);
  for (const Json& disk : json.at("disks").get_ref<const Json::array_t&>())
    answer.disks.push_back(decode_disk(disk));
  for (const Json& error : json.at("rate_errors").get_ref<const Json::array_t&>()) {
    if (error.is_null())
      answer.rate_errors.emplace_back();
    else
      answer.rate_errors.emplace_back(to_bytes(error));
  }
  return answer;
}

}  // namespace

std::string encode_xl_answer(const XlAnswer& answer) {
  Json json{{"syntax_errors", Json::array()},
            {"values", Json::object()},
            {"disks", Json::array()},
            {"rate_errors", Json::array()}};
  for (const auto& [line, message] : answer.syntax_errors)
    json["syntax_errors"].push_back({{"line", line}, {"message", to_characters(message)}});
  for (const auto& [key, value] : answer.values) json["values"][key] = encode(value);
  for (const auto& disk : answer.disks) json["disks"].push_back(encode(disk));
  for (const auto& error : answer.rate_errors)
    json["rate_errors"].push_back(error ? Json(to_characters(*error)) : Json(nullptr));
  return json.dump();
}

tl::expected<XlAnswer, std::string> decode_xl_answer(std::string_view bytes) {
  if (bytes.size() > longest_answer) return tl::unexpected(std::string("the answer is too long"));
  try {
    return decode(Json::parse(bytes));
  } catch (const std::exception& error) {
    return tl::unexpected(std::string(error.what()));
  }
}

}  // namespace pinfold::cli
