// What a command needs to read a log of MMU events: first opened, then read.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "cli/symbol_file.hpp"
#include "trace/reader.hpp"
#include "trace/text.hpp"

namespace pinfold::cli {

/// A log, and perhaps names for it, both of which a guest can have written. Whoever asks for their content
/// first gives up this process's rights: what else it opens, it opens before.
class LogInputs {
 public:
  /// An error is one line, which names the file. An empty path for `system_map`: no names.
  [[nodiscard]] static tl::expected<LogInputs, std::string> open(const std::filesystem::path& log,
                                                                 const std::filesystem::path& system_map);

  struct Content {
    trace::LogReader log;
    trace::Namer namer;
  };
  /// Confines this process (sandbox/helper.hpp), then reads. Once. An error is one line, which names the
  /// file.
  [[nodiscard]] tl::expected<Content, std::string> read();

 private:
  LogInputs(std::filesystem::path log, std::unique_ptr<trace::ByteSource> source, SymbolFile symbols)
      : log_(std::move(log)), source_(std::move(source)), symbols_(std::move(symbols)) {}

  std::filesystem::path log_;
  std::unique_ptr<trace::ByteSource> source_;
  SymbolFile symbols_;
};

}  // namespace pinfold::cli
