# The small libraries: the system's package where there is one, a pinned and hashed download otherwise.
include(FetchContent)

# lra_dependency(<package> <minimum version> <url> <sha256>)
macro(lra_dependency package version url sha256)
  find_package(${package} ${version} QUIET)
  if(${package}_FOUND)
    message(STATUS "${package} ${${package}_VERSION} (installed)")
  else()
    message(STATUS "${package} is not installed (>= ${version}): downloading ${url}")
    FetchContent_Declare(${package} URL ${url} URL_HASH SHA256=${sha256} SYSTEM DOWNLOAD_EXTRACT_TIMESTAMP FALSE)
    FetchContent_MakeAvailable(${package})
  endif()
endmacro()

# Only their libraries are wanted, not their tests and programs; spdlog must use the same fmt as we do.
set(CLI11_BUILD_TESTS OFF)
set(CLI11_BUILD_EXAMPLES OFF)
set(JSON_BuildTests OFF)
set(SPDLOG_FMT_EXTERNAL ON)
set(SPDLOG_BUILD_EXAMPLE OFF)

lra_dependency(CLI11 2.1 https://github.com/CLIUtils/CLI11/archive/v2.4.2.tar.gz
               f2d893a65c3b1324c50d4e682c0cdc021dd0477ae2c048544f39eed6654b699a)
lra_dependency(nlohmann_json 3.11 https://github.com/nlohmann/json/archive/v3.11.3.tar.gz
               0d8ef5af7f9794e3263480193c491549b2ba6cc74bb018906202ada498a79406)
lra_dependency(fmt 9 https://github.com/fmtlib/fmt/archive/10.2.1.tar.gz
               1250e4cc58bf06ee631567523f48848dc4596133e163f02615c97f78bab6c811)
lra_dependency(spdlog 1.10 https://github.com/gabime/spdlog/archive/v1.14.0.tar.gz
               429a6b73ade8285cb21f83bacf89e2821dd1720ea7faa3cb518ffe04b4e00efc)
lra_dependency(Catch2 3 https://github.com/catchorg/Catch2/archive/v3.6.0.tar.gz
               485932259a75c7c6b72d4b874242c489ea5155d17efa345eb8cc72159f49f356)

# Archives and compressed files of the data sets.
find_package(LibArchive 3 REQUIRED)
find_package(ZLIB REQUIRED)

# FMT_VERSION as the headers spell it, to assert that ours are the ones that are read.
if(NOT fmt_VERSION)
  set(fmt_VERSION 10.2.1)
endif()
string(REGEX MATCH "^([0-9]+)\\.([0-9]+)\\.([0-9]+)" _fmt "${fmt_VERSION}")
math(EXPR LRA_FMT_VERSION "${CMAKE_MATCH_1} * 10000 + ${CMAKE_MATCH_2} * 100 + ${CMAKE_MATCH_3}")
