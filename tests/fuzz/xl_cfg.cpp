// A guest's configuration: the parts that read it without Xen's library, and the answer of the library's
// process. The first byte chooses the part, the rest is its text.
#include <algorithm>
#include <set>
#include <string>

#include "cli/config/disk_spec.hpp"
#include "cli/config/mac.hpp"
#include "cli/config/remark.hpp"
#include "cli/config/vdev.hpp"
#include "cli/config/vif_config.hpp"
#include "cli/config/xl_answer.hpp"
#include "cli/config/xl_scanner.hpp"
#include "cli/config/xl_text.hpp"
#include "input.hpp"

namespace {

using namespace pinfold::cli;
using pinfold::fuzz::promise;

void scan(const std::string& text) {
  const auto last = static_cast<unsigned>(std::count(text.begin(), text.end(), '\n')) + 1;
  std::set<std::string> names;
  for (const XlKey& key : scan_keys(text)) {
    promise(!key.name.empty() && key.name[0] >= 'a' && key.name[0] <= 'z', "a key begins with a letter");
    promise(names.insert(key.name).second, "a key is told once");
    promise(key.line >= 1 && key.line <= last, "a key has its line");
    promise(std::is_sorted(key.item_lines.begin(), key.item_lines.end()),
            "items are in the order of the text");
    for (const unsigned line : key.item_lines) promise(line >= 1 && line <= last, "an item has its line");
    for (const unsigned line : key.replaced) promise(line <= key.line, "what is replaced was before");
  }
}

void decode(const std::string& text) {
  const auto answer = decode_xl_answer(text);
  if (!answer) return;
  const auto again = decode_xl_answer(encode_xl_answer(*answer));
  promise(again.has_value(), "what is decoded can be encoded");
  promise(again->values == answer->values && again->rate_errors == answer->rate_errors &&
              again->disks.size() == answer->disks.size(),
          "and is the same then");
}

void interface(const std::string& text) {
  const auto vif = parse_vif(text);
  if (!vif) return;
  const VifConfig& config = vif->config;
  promise(config.mac.empty() || canonical_mac(config.mac) == config.mac, "an address has one form");
  promise(config.mac.empty() || !is_multicast(config.mac), "an interface's address is its own");
  promise(!config.mtu || (*config.mtu >= 68 && *config.mtu <= 65535), "a packet fits");
  for (const std::string& address : config.addresses) promise(!address.empty(), "an address has text");
}

void disk(const std::string& text) {
  const auto number = vdev_number(text);
  promise(!number || (*number > 0 && *number <= 0x7fff'ffff), "a disk's number is positive");
  const DiskSpec spec = disk_spec(text);
  promise(spec.text == text, "a disk's text is kept");
  promise(spec.format ? spec.for_library.size() == text.size() - 1 : spec.for_library == text,
          "only a format of four letters is replaced, by raw");
  XlDisk parsed;
  parsed.target = parsed.vdev = text;
  parsed.format = "raw";
  const auto made = disk_config(spec, parsed);
  promise(!made || (vdev_number(made->vdev) && !made->target.empty()), "a disk is whole");
}

void text_file(const std::string& text) {
  const auto prepared = prepare_config_text(text, "text");
  promise(prepared.has_value() == (text.find('\0') == std::string::npos), "only a zero is no text");
  if (!prepared) return;
  promise(prepared->ends_with('\n'), "the last line has an end");
  promise(prepared->size() <= text.size() + 1, "nothing else is added");
}

void message(const std::string& text) {
  for (const char c : printable(text))
    promise(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f, "a message has no control characters");
  promise(Remark{Severity::error, text, 1, text}.text().size() <= 1010, "a message is short");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string text(data + 1, data + size);
  switch (data[0]) {
    case 's': scan(text); break;
    case 'a': decode(text); break;
    case 'v': interface(text); break;
    case 'd': disk(text); break;
    case 't': text_file(text); break;
    case 'm': message(text); break;
    default: break;
  }
  return 0;
}
