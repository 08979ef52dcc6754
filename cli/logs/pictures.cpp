#include "cli/logs/pictures.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>

#include "cli/exit_codes.hpp"
#include "cli/trace_options.hpp"
#include "pvmmu/rule_reasons.hpp"
#include "report/page.hpp"
#include "report/perfetto.hpp"
#include "trace/reader.hpp"

namespace pinfold::cli {
namespace {

int fail(const std::filesystem::path& file, const std::string& why) {
  std::cerr << fmt::format("pinfold: {}: {}\n", file.string(), why);
  return exit_bad_image;
}

/// Opens both files and has `make(log, stream)` write; it returns why the log could not be read to its end.
template <class Make>
int convert(const PictureOptions& options, Make make) {
  auto log = trace::LogReader::open(options.log);
  if (!log) return fail(options.log, log.error().describe());
  std::ofstream to(options.output, std::ios::binary | std::ios::trunc);
  if (!to) return fail(options.output, std::strerror(errno));
  const std::string trouble = make(*log, to);
  to.close();
  if (!to) return fail(options.output, "could not be written");
  if (!trouble.empty())
    std::cerr << fmt::format("pinfold: {}: {}; {} shows what precedes\n", options.log.string(), trouble,
                             options.output.string());
  return 0;
}

}  // namespace

int make_report(const PictureOptions& options) {
  report::PageOptions page;
  page.file = options.log.filename().string();
  auto namer = make_namer(options.system_map);
  if (!namer) return fail(options.system_map, namer.error());
  page.namer = *namer;
  page.words = [](pvmmu::Rule rule) {
    const pvmmu::RuleReason& reason = pvmmu::reason(rule);
    return report::RuleWords{std::string(reason.why), std::string(reason.instead)};
  };
  return convert(options, [&](trace::LogReader& log, std::ostream& to) {
    const report::Model model = report::make_model(log);
    to << report::make_page(model, page);
    return model.trouble;
  });
}

int export_perfetto(const PictureOptions& options) {
  return convert(options, [](trace::LogReader& log, std::ostream& to) {
    return report::write_perfetto(log, to).trouble;
  });
}

}  // namespace pinfold::cli
