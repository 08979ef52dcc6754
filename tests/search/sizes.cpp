#include "size.hpp"

namespace pinfold::pvmmu::search {
namespace {

Size with(void (*change)(Size&)) {
  Size size;
  change(size);
  return size;
}

void all_kinds(Size& s) {
  s.two_leaves = s.clean = s.read_only_tables = true;
  s.writable_holds = s.descriptor_holds = s.user_root = true;
}

}  // namespace

const std::map<std::string, Size>& sizes() {
  static const std::map<std::string, Size> all{
      // What CI runs.
      {"held", with([](Size& s) {
         all_kinds(s);
         s.frames = s.first_has = 2, s.special = true;
       })},
      {"refusing",
       with([](Size& s) { s.frames = s.first_has = 2, s.host_refuses = s.special = true, s.mirrors = 2; })},
      {"roots", with([](Size& s) { s.user_root = s.writable_holds = s.descriptor_holds = true; })},
      {"pair", with([](Size& s) {
         all_kinds(s);
         s.frames = 4, s.first_has = s.second_has = 2, s.second = Second::little;
       })},
      {"domains", with([](Size& s) { s.frames = 4, s.second = Second::little, s.pieces = false; })},
      // Larger ones.
      {"pieces", with([](Size& s) { s.frames = 4, s.second = Second::little; })},
      {"rights", with([](Size& s) { s.clean = s.read_only_tables = true; })},
      {"leaves", with([](Size& s) { s.two_leaves = true; })},
      {"both", with([](Size& s) { s.frames = 4, s.first_has = s.second_has = 2, s.second = Second::all; })},
      {"four", with([](Size& s) { s.frames = s.first_has = 4; })},
      {"five", with([](Size& s) { s.frames = 5, s.first_has = 4, s.second = Second::little; })},
  };
  return all;
}

}  // namespace pinfold::pvmmu::search
