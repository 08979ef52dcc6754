// A guest's disks in memory.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "loader/boot_menu/boot_files.hpp"

namespace pinfold::boot_menu::test {

class FakeFiles final : public BootFiles {
 public:
  /// Devices of one letter more are needed rarely: this one is a disk without partitions.
  FakeFiles() { add_device("hd0", "1111-AAAA"); }

  void add_device(const std::string& name, const std::string& uuid = "", const std::string& label = "") {
    devices_.push_back({name, uuid, label, 0, true});
  }
  void clear_devices() { devices_.clear(); }
  void add(const std::string& path, const std::string& text, const std::string& device = "hd0") {
    texts_[{device, path}] = text;
  }

  const std::vector<BootDevice>& devices() override { return devices_; }
  std::optional<std::string> read(const std::string& device, const std::string& path) override {
    ++reads;
    const auto found = texts_.find({device, path});
    if (found == texts_.end()) return std::nullopt;
    return found->second;
  }
  const std::vector<std::string>& list(const std::string& device, const std::string& folder) override {
    auto& names = lists_[{device, folder}];
    names.clear();
    for (const auto& [place, text] : texts_) {
      if (place.first != device || !place.second.starts_with(folder)) continue;
      const auto rest = place.second.substr(folder.size());
      const auto slash = rest.find('/');
      const auto name = slash == std::string::npos ? rest : rest.substr(0, slash + 1);
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    return names;
  }

  int reads = 0;

 private:
  using Key = std::pair<std::string, std::string>;
  std::vector<BootDevice> devices_;
  std::map<Key, std::string> texts_;
  std::map<Key, std::vector<std::string>> lists_;
};

}  // namespace pinfold::boot_menu::test
