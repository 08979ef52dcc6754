#include "cli/logs/pictures.hpp"

#include <fmt/format.h>

#include <iostream>

#include "cli/exit_codes.hpp"
#include "cli/logs/log_inputs.hpp"
#include "cli/logs/new_file.hpp"
#include "pvmmu/rule_reasons.hpp"
#include "report/page.hpp"
#include "report/perfetto.hpp"

namespace pinfold::cli {
namespace {

int fail(const std::string& what) {
  std::cerr << fmt::format("pinfold: {}\n", what);
  return exit_bad_image;
}
int fail(const std::filesystem::path& file, const std::string& why) {
  return fail(fmt::format("{}: {}", file.string(), why));
}

/// Opens the files and has `make(log, namer, stream)` write; it returns why the log could not be read to its
/// end.
template <class Make>
int convert(const PictureOptions& options, Make make) {
  auto inputs = LogInputs::open(options.log, options.system_map);
  if (!inputs) return fail(inputs.error());
  auto to = NewFile::create(options.output);
  if (!to) return fail(options.output, to.error());
  auto content = inputs->read();
  if (!content) return fail(content.error());
  const std::string trouble = make(content->log, content->namer, to->stream());
  if (!to->keep()) return fail(options.output, "could not be written");
  if (!trouble.empty())
    std::cerr << fmt::format("pinfold: {}: {}; {} shows what precedes\n", options.log.string(), trouble,
                             options.output.string());
  return 0;
}

}  // namespace

int make_report(const PictureOptions& options) {
  report::PageOptions page;
  page.file = options.log.filename().string();
  page.words = [](pvmmu::Rule rule) {
    const pvmmu::RuleReason& reason = pvmmu::reason(rule);
    return report::RuleWords{std::string(reason.why), std::string(reason.instead)};
  };
  return convert(options, [&](trace::LogReader& log, const trace::Namer& namer, std::ostream& to) {
    page.namer = namer;
    const report::Model model = report::make_model(log);
    to << report::make_page(model, page);
    return model.trouble;
  });
}

int export_perfetto(const PictureOptions& options) {
  return convert(options, [](trace::LogReader& log, const trace::Namer&, std::ostream& to) {
    return report::write_perfetto(log, to).trouble;
  });
}

}  // namespace pinfold::cli
