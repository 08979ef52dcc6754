#include "path.hpp"

#include <fmt/format.h>

#include "steps.hpp"

namespace pinfold::pvmmu::search {
namespace {

std::string describe(const Box::Chosen& chosen) {
  std::string text =
      fmt::format("       frame {} is to be {} and holds", chosen.frame.raw(), name(chosen.type));
  for (const Pte e : chosen.contents) text += fmt::format(" {:#x}", e.raw());
  return text + "\n";
}

std::string describe(const Operation& op, std::uint64_t budget, const std::string& answer,
                     const std::vector<Box::Chosen>& chosen) {
  std::string text = search::describe(op, budget) + ": " + answer + "\n";
  for (const Box::Chosen& c : chosen) text += describe(c);
  return text;
}

/// Makes the step with the number `wanted` from `state`, which becomes the state after it.
std::string retrace_step(Box& box, State& state, std::uint32_t wanted) {
  std::string text;
  State after = state;
  const auto load = [&] {
    box.load(state);
    box.chosen.clear();
  };
  load();
  each_step(
      box, state, load,
      [&](const Operation& op, std::uint64_t budget, std::uint32_t number) -> std::optional<Outcome> {
        if (number > wanted) return std::nullopt;
        Outcome outcome;
        std::string answer;
        try {
          outcome = apply(box, op, budget);
          answer = outcome.accepted ? "done" : outcome.rule ? info(*outcome.rule).name : "refused";
          if (number == wanted) after = box.save();
        } catch (const Finding& finding) {
          if (number != wanted) throw;
          answer = finding.what();
        }
        if (number == wanted) text = describe(op, budget, answer, box.chosen);
        return outcome;
      },
      [&](const Operation&, const Outcome&) { load(); });
  state = after;
  return text;
}

}  // namespace

std::string retrace(const Size& size, const std::vector<std::uint32_t>& steps) {
  Box box(size);
  State state;
  std::string text;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    text += fmt::format("{:4}. {}", i + 1, retrace_step(box, state, steps[i]));
    text += search::describe(state, size.frames);
  }
  return text;
}

}  // namespace pinfold::pvmmu::search
