// Names for a guest kernel's addresses, from the System.map that its package brings.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pinfold::cli {

/// The functions of one kernel build by address. Made once, only read afterwards: any number of threads may
/// ask.
class SystemMap {
 public:
  /// A function, and how many bytes past its beginning the address lies. `name` lives as long as the map.
  struct Place {
    std::string_view name;
    std::uint64_t offset = 0;
  };

  /// No names: every address is described by its number.
  SystemMap() = default;
  /// Reads lines of "address type name", as `nm` and the kernel's build print them; other lines, and symbols
  /// that are not code (types other than t, T, w and W), are passed over. Names become fit for a terminal
  /// (loader::printable).
  [[nodiscard]] static SystemMap parse(std::string_view text);

  /// The function that `address` lies in. Nothing below the first one, nor far (1 MiB) past the last.
  [[nodiscard]] std::optional<Place> find(std::uint64_t address) const;
  /// "name+0x1f", or the number where there is no name.
  [[nodiscard]] std::string describe(std::uint64_t address) const;
  [[nodiscard]] bool empty() const { return functions_.empty(); }

 private:
  struct Function {
    std::uint64_t address = 0;
    std::uint32_t name = 0;  ///< Where in names_.
    std::uint32_t length = 0;
  };
  std::vector<Function> functions_;  ///< By address.
  std::string names_;
};

}  // namespace pinfold::cli
