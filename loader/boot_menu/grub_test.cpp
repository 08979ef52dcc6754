#include "loader/boot_menu/grub_test.hpp"

#include <cstdlib>

namespace pinfold::boot_menu {
namespace {

class Test {
 public:
  Test(GrubContext& context, std::span<const std::string> words) : context_(context), words_(words) {}

  /// Alternatives with -o between them, of conditions with -a between them.
  bool any() {
    bool result = all();
    while (take("-o")) result = all() || result;
    return result;
  }

 private:
  bool take(std::string_view word) {
    if (words_.empty() || words_[0] != word) return false;
    words_ = words_.subspan(1);
    return true;
  }
  std::string next() {
    if (words_.empty()) return {};
    std::string word = words_[0];
    words_ = words_.subspan(1);
    return word;
  }

  bool all() {
    bool result = one();
    while (!words_.empty() && words_[0] != "-o" && words_[0] != ")") {
      take("-a");
      result = one() && result;
    }
    return result;
  }

  bool one() {
    bool is_not = false;
    while (words_.size() > 1 && take("!")) is_not = !is_not;
    return plain() != is_not;
  }

  bool plain() {
    if (words_.size() >= 3)
      if (const auto compared = compare(words_[0], words_[1], words_[2])) {
        words_ = words_.subspan(3);
        return *compared;
      }
    if (depth_ < deepest_nesting && words_.size() > 1 && take("(")) {
      ++depth_;
      const bool result = any();
      take(")");
      --depth_;
      return result;
    }
    if (words_.size() >= 2 && words_[0].size() == 2 && words_[0][0] == '-') {
      const std::string option = next();
      return about(option[1], next());
    }
    return !next().empty();
  }

  bool about(char option, const std::string& word) {
    switch (option) {
      case 'z': return word.empty();
      case 'n': return !word.empty();
      case 'd': {
        const auto place = context_.find(word);
        return place && is_folder(context_.files, *place);
      }
      case 'e': return context_.find(word).has_value();
      case 'f':
      case 's': {
        const auto place = context_.find(word);
        return place && !is_folder(context_.files, *place);
      }
      default: return false;
    }
  }

  static std::optional<bool> compare(const std::string& a, const std::string& how, const std::string& b) {
    if (how == "=" || how == "==") return a == b;
    if (how == "!=") return a != b;
    if (how == "<") return a < b;
    if (how == ">") return a > b;
    const long long left = std::strtoll(a.c_str(), nullptr, 0), right = std::strtoll(b.c_str(), nullptr, 0);
    if (how == "-eq") return left == right;
    if (how == "-ne") return left != right;
    if (how == "-lt") return left < right;
    if (how == "-le") return left <= right;
    if (how == "-gt") return left > right;
    if (how == "-ge") return left >= right;
    return std::nullopt;
  }

  GrubContext& context_;
  std::span<const std::string> words_;
  unsigned depth_ = 0;
};

}  // namespace

bool evaluate_test(GrubContext& context, std::span<const std::string> words) {
  return Test(context, words).any();
}

}  // namespace pinfold::boot_menu
