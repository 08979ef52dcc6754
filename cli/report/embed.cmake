# usage: cmake -D OUT=FILE.cpp -D HTML=FILE -D STYLE=FILES -D SCRIPT=FILES -P embed.cmake
# Makes page_parts.cpp: the page's sources as strings (a list of files is one after another). Each file is a literal of
# its own, since compilers need not take longer ones than 64 KiB.
function(part name)
  set(literals "")
  foreach(file ${ARGN})
    file(READ ${file} text)
    string(APPEND literals "  text += R\"-part-(${text})-part-\";\n")
  endforeach()
  set(parts "${parts}std::string ${name}_text() {\n  std::string text;\n${literals}  return text;\n}\n" PARENT_SCOPE)
endfunction()

set(parts "")
part(html ${HTML})
part(style ${STYLE})
part(script ${SCRIPT})
file(WRITE ${OUT} "#include \"report/page_parts.hpp\"

#include <string>

namespace pinfold::report::page_parts {
namespace {

${parts}
}  // namespace

std::string html() { return html_text(); }
std::string style() { return style_text(); }
std::string script() { return script_text(); }

}  // namespace pinfold::report::page_parts
")
