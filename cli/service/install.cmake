# What is installed: the program, its manual pages, what shells need to complete its words, and the service.
include(GNUInstallDirs)

# Pages and completions are made of the descriptions that --help prints.
set(manual ${CMAKE_BINARY_DIR}/manual)
add_custom_command(OUTPUT ${manual}/made
                   COMMAND ${CMAKE_COMMAND} -E rm -rf ${manual}
                   COMMAND pinfold manual ${manual} ${CMAKE_SOURCE_DIR}/docs/xl-cfg.md
                   COMMAND ${CMAKE_COMMAND} -E touch ${manual}/made
                   DEPENDS pinfold ${CMAKE_SOURCE_DIR}/docs/xl-cfg.md
                   VERBATIM)
add_custom_target(manual ALL DEPENDS ${manual}/made)

set(bin ${CMAKE_INSTALL_FULL_BINDIR})
configure_file(cli/service/pinfold@.service.in ${CMAKE_BINARY_DIR}/services/pinfold@.service @ONLY)

install(TARGETS pinfold RUNTIME)
install(DIRECTORY ${manual}/man1 ${manual}/man5 DESTINATION ${CMAKE_INSTALL_MANDIR})
install(FILES ${manual}/completions/pinfold DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${manual}/completions/_pinfold DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
install(FILES ${manual}/completions/pinfold.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES ${CMAKE_BINARY_DIR}/services/pinfold@.service DESTINATION lib/systemd/system)
install(FILES cli/service/sysusers.d/pinfold.conf DESTINATION lib/sysusers.d)
