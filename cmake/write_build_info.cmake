# Run at every build: writes OUTPUT from lib/core/build_info.cpp.in; the file is touched only when its content changes.
set(LRA_GIT_REVISION "unknown")
set(LRA_GIT_DIRTY "false")
find_program(GIT git)
if(GIT)
  execute_process(COMMAND "${GIT}" -C "${SOURCE_DIR}" rev-parse HEAD
                  OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE rc)
  if(rc EQUAL 0)
    set(LRA_GIT_REVISION "${revision}")
    execute_process(COMMAND "${GIT}" -C "${SOURCE_DIR}" --no-optional-locks status --porcelain --untracked-files=no
                    OUTPUT_VARIABLE changes ERROR_QUIET)
    # A new file in these folders is built or read too, before git knows it.
    execute_process(COMMAND "${GIT}" -C "${SOURCE_DIR}" ls-files --others --exclude-standard -- lib apps configs cmake
                    OUTPUT_VARIABLE unknown_files ERROR_QUIET)
    if(NOT "${changes}${unknown_files}" STREQUAL "")
      set(LRA_GIT_DIRTY "true")
    endif()
  endif()
endif()
configure_file("${SOURCE_DIR}/lib/core/build_info.cpp.in" "${OUTPUT}" @ONLY)
