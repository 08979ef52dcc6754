// In which form pinfold's messages leave the program.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli {

enum class MessageFormat : std::uint8_t {
  text,     ///< Lines for people, on stderr.
  json,     ///< A JSON object for each line, on stderr.
  journal,  ///< Entries of systemd's journal; on stderr, as text, if the journal does not take them.
};

struct MessageOptions {
  MessageFormat format = MessageFormat::text;
  std::filesystem::path journal = "/run/systemd/journal/socket";
};

/// While this lives, what this process and those that it starts write to stderr goes through a process that
/// gives each line its form. That one confines itself before it reads the first byte, because lines can have
/// a guest's words; it ends when the last writer has. With MessageFormat::text there is no such process.
///
/// Make it before the program has threads, and before it opens what others must not keep open.
class MessageWriter {
 public:
  /// An error is one line: no journal, or the host's refusal.
  [[nodiscard]] static tl::expected<MessageWriter, std::string> start(const MessageOptions& options,
                                                                      const std::vector<std::string>& guests);
  /// Stderr is what it was, and what was written before has left the program, unless its reader takes longer
  /// than two seconds, or another writer lives on.
  ~MessageWriter();
  MessageWriter(MessageWriter&& other) noexcept;
  MessageWriter& operator=(MessageWriter&&) = delete;

 private:
  MessageWriter() = default;
  pid_t process_ = 0;  ///< 0: there is none.
  vmm::Fd before_;     ///< What stderr was.
};

}  // namespace pinfold::cli
