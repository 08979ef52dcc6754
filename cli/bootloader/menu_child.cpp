#include "cli/bootloader/menu_child.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "cli/bootloader/confine_reader.hpp"
#include "cli/config/xl_child.hpp"
#include "cli/json_number.hpp"
#include "loader/boot_menu/find_menu.hpp"

namespace pinfold::cli::bootloader {
namespace {

using boot_menu::Boot;
using boot_menu::FilePlace;
using boot_menu::Menu;
using boot_menu::MenuEntry;
using Json = nlohmann::json;

// -- In the child.

/// Leaves the reader of menus where a file is missing.
struct Missing {
  MissingFile file;
};

class ChildFiles final : public boot_menu::BootFiles {
 public:
  explicit ChildFiles(const FetchedFiles& fetched) : fetched_(fetched) {}

  const std::vector<boot_menu::BootDevice>& devices() override { return fetched_.devices; }
  std::optional<std::string> read(const std::string& device, const std::string& path) override {
    const auto found = fetched_.texts.find({device, path});
    if (found == fetched_.texts.end()) throw Missing{{false, {device, path}}};
    return found->second;
  }
  const std::vector<std::string>& list(const std::string& device, const std::string& folder) override {
    static const std::vector<std::string> none;
    const auto found = fetched_.folders.find({device, folder});
    if (found != fetched_.folders.end()) return found->second;
    if (!boot_menu::may_be_folder(*this, device, folder)) return none;
    throw Missing{{true, {device, folder}}};
  }

 private:
  const FetchedFiles& fetched_;
};

Json encode(const FilePlace& place) { return Json::array({place.device, place.path}); }

Json encode(const tl::expected<Boot, std::string>& boot) {
  if (!boot) return boot.error();
  Json initrds = Json::array();
  for (const FilePlace& initrd : boot->initrds) initrds.push_back(encode(initrd));
  return Json::array({encode(boot->kernel), std::move(initrds), boot->arguments});
}

Json encode(const Menu& menu) {
  Json entries = Json::array();
  for (const MenuEntry& entry : menu.entries)
    entries.push_back(Json::array({entry.title, entry.id, entry.parent, entry.place, entry.is_submenu}));
  return Json::array(
      {encode(menu.source), std::move(entries), menu.chosen, menu.timeout_seconds, Json(menu.notices)});
}

Json answer(const FetchedFiles& fetched, const MenuQuestion& question) {
  ChildFiles files(fetched);
  try {
    const auto menu = boot_menu::find_menu(files);
    if (!menu) return {{"error", menu.error()}};
    std::size_t entry = question.entry.value_or(menu->chosen);
    if (!question.entry && !question.entry_text.empty()) {
      const auto found = boot_menu::find_entry(*menu, question.entry_text);
      if (!found) return {{"error", "the menu has no entry " + question.entry_text}};
      entry = *found;
    }
    return {{"menu", encode(*menu)}, {"entry", entry}, {"boot", encode(menu->load(entry))}};
  } catch (const Missing& missing) {
    return {
        {"missing", Json::array({missing.file.is_folder, missing.file.key.first, missing.file.key.second})}};
  }
}

/// Reads an answer and accepts it if nothing in it is nested deeply: the library's reader calls itself for
/// each level, so that a child that was taken over could exhaust its parent's stack. (In CBOR it does so for
/// strings, too, of which nobody is asked.)
class Depth final : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(std::size_t) override { return ++levels_ <= most; }
  bool start_array(std::size_t) override { return ++levels_ <= most; }
  bool end_object() override { return --levels_, true; }
  bool end_array() override { return --levels_, true; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  static constexpr int most = 16;
  int levels_ = 0;
};

// -- In the parent. Every member may be missing or of another type: json throws then.

FilePlace place_of(const Json& json) {
  return {json.at(0).get<std::string>(), json.at(1).get<std::string>()};
}

tl::expected<Boot, std::string> boot_of(const Json& json) {
  if (json.is_string()) return tl::unexpected(json.get<std::string>());
  Boot boot;
  boot.kernel = place_of(json.at(0));
  if (json.at(1).size() > boot_menu::most_initrds)
    throw std::out_of_range("more RAM disks than there can be");
  for (const Json& initrd : json.at(1)) boot.initrds.push_back(place_of(initrd));
  boot.arguments = json.at(2).get<std::string>();
  return boot;
}

Menu menu_of(const Json& json) {
  Menu menu;
  menu.source = place_of(json.at(0));
  if (json.at(1).size() > boot_menu::most_entries) throw std::out_of_range("more entries than there can be");
  for (const Json& entry : json.at(1))
    menu.entries.push_back({entry.at(0).get<std::string>(), entry.at(1).get<std::string>(),
                            entry.at(2).get<std::string>(), whole_number(entry.at(3)),
                            entry.at(4).get<bool>()});
  menu.chosen = whole_number(json.at(2));
  constexpr std::int64_t most_seconds = 1'000'000;
  menu.timeout_seconds = static_cast<int>(
      std::clamp(json.at(3).get_ref<const Json::number_integer_t&>(), std::int64_t{-1}, most_seconds));
  menu.notices = json.at(4).get<std::vector<std::string>>();
  if (menu.chosen >= menu.entries.size()) throw std::out_of_range("a default that is no entry");
  return menu;
}

/// False: it was asked for before.
bool fetch(boot_menu::BootFiles& files, FetchedFiles& fetched, const MissingFile& missing) {
  const auto& [device, path] = missing.key;
  if (missing.is_folder) return fetched.folders.emplace(missing.key, files.list(device, path)).second;
  return fetched.texts.emplace(missing.key, files.read(device, path)).second;
}

}  // namespace

std::string answer_of_child(const FetchedFiles& fetched, const MenuQuestion& question) {
  std::string bytes;
  Json::to_msgpack(answer(fetched, question), bytes);
  return bytes;
}

tl::expected<ChildWords, std::string> decode_child_words(const std::string& bytes) {
  try {
    if (Depth depth; !Json::sax_parse(bytes, &depth, Json::input_format_t::msgpack))
      throw std::out_of_range("it is nested too deeply, or damaged");
    const Json json = Json::from_msgpack(bytes);
    ChildWords words;
    if (json.contains("missing")) {
      const Json& missing = json.at("missing");
      words.missing = MissingFile{missing.at(0).get<bool>(),
                                  {missing.at(1).get<std::string>(), missing.at(2).get<std::string>()}};
    } else if (json.contains("error")) {
      words.answer = tl::unexpected(json.at("error").get<std::string>());
    } else {
      MenuAnswer answer{menu_of(json.at("menu")), whole_number(json.at("entry")), boot_of(json.at("boot"))};
      if (answer.entry >= answer.menu.entries.size()) throw std::out_of_range("an entry that is none");
      words.answer = std::move(answer);
    }
    return words;
  } catch (const std::exception& error) {
    return tl::unexpected(std::string(error.what()));
  }
}

tl::expected<MenuAnswer, std::string> ask_menu_child(boot_menu::BootFiles& files, FetchedFiles& fetched,
                                                     const MenuQuestion& question) {
  // A menu, its other scripts, loader entries, and the folders on the way to kernels.
  constexpr int most_questions = 2000;
  fetched.devices = files.devices();
  for (int n = 0; n < most_questions; ++n) {
    const auto bytes = run_in_child([&] { return answer_of_child(fetched, question); }, confine_reader);
    if (!bytes) return tl::unexpected("the process that reads the menu failed: " + bytes.error());
    auto words = decode_child_words(*bytes);
    if (!words)
      return tl::unexpected(std::string("the process that reads the menu answered with something else"));
    if (words->answer) return std::move(*words->answer);
    if (!fetch(files, fetched, *words->missing))
      return tl::unexpected(std::string("the process that reads the menu asked twice for the same"));
  }
  return tl::unexpected(std::string("the menu needs too many files"));
}

}  // namespace pinfold::cli::bootloader
