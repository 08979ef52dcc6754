// Searches all states of a small machine. The command line names a size, and may change it.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>

#include "search.hpp"

using namespace pinfold::pvmmu::search;

namespace {

void add_options(CLI::App& app, Size& size) {
  const std::map<std::string, Second> second{
      {"nothing", Second::nothing}, {"little", Second::little}, {"all", Second::all}};
  app.add_option("--frames", size.frames, "frames that can be owned")->check(CLI::Range(1, 6));
  app.add_option("--first-has", size.first_has, "frames that the first domain has at most");
  app.add_option("--second-has", size.second_has, "the same for the second");
  app.add_option("--second", size.second, "what the second domain does")
      ->transform(CLI::CheckedTransformer(second));
  app.add_option("--mirrors", size.mirrors, "of each domain")->check(CLI::Range(1, 64));
  app.add_flag("--two-leaves,!--one-leaf", size.two_leaves, "both slots of an L1 are in use");
  app.add_flag("--clean,!--no-clean", size.clean, "writable mappings that are not dirty yet");
  app.add_flag("--read-only-tables,!--no-read-only-tables", size.read_only_tables,
               "upper entries without RW");
  app.add_flag("--holds,!--no-holds", size.writable_holds, "frames held as data");
  app.add_flag("--descriptors,!--no-descriptors", size.descriptor_holds, "descriptor tables");
  app.add_flag("--user-root,!--no-user-root", size.user_root, "a second root register");
  app.add_flag("--special,!--no-special", size.special, "pages of the monitor's own");
  app.add_flag("--host-refuses,!--no-host-refuses", size.host_refuses,
               "the view can't protect or revoke a frame");
  app.add_flag("--pieces,!--no-pieces", size.pieces, "budgets of one entry");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "All states of a small machine: does the validator keep its promises in each?\n"
      "Exit code 0: nothing found; 1: something is wrong, and the path to it is printed; 3: gave up."};
  std::string names, name = "held";
  for (const auto& [known, size] : sizes()) names += (names.empty() ? "" : ", ") + known;
  Limits limits;
  Size size;
  app.add_option("size", name, "one of " + names)->capture_default_str();
  app.add_option("--most-states", limits.states, "give up when there are more");
  app.add_option("--seconds", limits.seconds, "give up after this time; 0: never");
  app.add_flag("--progress", limits.progress, "a line for each depth, on stderr");
  add_options(app, size);
  CLI11_PARSE(app, argc, argv);
  const auto found = sizes().find(name);
  if (found == sizes().end())
    return std::fprintf(stderr, "no size %s; there are %s\n", name.c_str(), names.c_str()), 2;
  size = found->second;
  app.clear();
  CLI11_PARSE(app, argc, argv);  // again: what is given changes the size that was named
  const Result result = search(size, limits);
  std::printf("%s: %s\n", name.c_str(), describe(result).c_str());
  if (result.finding) std::printf("FOUND: %s\n", result.finding->c_str());
  return result.finding ? 1 : result.complete ? 0 : 3;
}
