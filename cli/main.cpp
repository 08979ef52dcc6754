#include "cli/command_line.hpp"

int main(int argc, char** argv) { return pinfold::cli::run_command_line(argc, argv, PINFOLD_VERSION); }
