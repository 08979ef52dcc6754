// One step of a random sequence. It consists of plain numbers, so that it means the same if earlier steps are
// left out.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "pvmmu/types.hpp"

namespace pinfold::pvmmu::property {

enum class Kind : std::uint8_t {
  guest_store,       ///< The guest's processor writes a frame that its view lets it write.
  processor_access,  ///< The processor sets A in a mirror.
  update,
  update_va,
  store_to_l1,
  pin,
  unpin,
  load_root,
  unload_root,
  hold,
  release,
  allocate,
  deallocate,
  exchange,
  write_descriptor,
  set_machphys,
  clear_page,
  copy_page,
  touch,
  flush,
  hide_machphys,
};
inline constexpr std::size_t kinds = 21;
[[nodiscard]] const char* name(Kind kind);

struct Operation {
  Kind kind{};
  int domain = 0;
  Mfn mfn;
  Mfn other;
  std::size_t slot = 0;
  std::uint64_t value = 0;
  GuestVaddr va;
  unsigned choice = 0;  ///< Level, root register, type, preserve: as the kind needs.

  [[nodiscard]] std::string describe() const;
  /// The step as an initializer in C++, to keep a sequence as a test of its own.
  [[nodiscard]] std::string code() const;
};

/// The generator gives each frame a role, so that it makes trees by chance.
inline constexpr std::size_t machine_frames = 64;
[[nodiscard]] std::vector<Operation> random_operations(std::uint64_t seed, std::size_t count);

}  // namespace pinfold::pvmmu::property
