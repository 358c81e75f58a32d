# Writes OUTPUT, a C++ file with the text of each of the ASSETS as a string: cmake -DOUTPUT=FILE "-DASSETS=A;B" -P embed_assets.cmake
set(text "#include \"report/assets.h\"\n\nnamespace lra::report::assets {\n")
foreach(asset IN LISTS ASSETS)
  get_filename_component(name "${asset}" NAME)
  string(REPLACE "." "_" name "${name}")
  file(READ "${asset}" content)
  string(APPEND text "\nconst std::string_view ${name} = R\"asset(${content})asset\";\n")
endforeach()
file(WRITE "${OUTPUT}" "${text}\n}  // namespace lra::report::assets\n")
