# Finds LibTorch without asking for a CUDA toolkit (find_package(Torch) demands one as soon as the wheel is a CUDA one).
#
# Where it looks: LIBTORCH_ROOT (variable or environment), then the first of these Pythons that has torch: LRA_PYTHON (variable or
# environment), .venv/bin/python of the source tree, python3.
#
# Result: imported targets torch_cpu, c10 (and torch_cuda, c10_cuda where they exist) behind LibTorch::LibTorch, which carries headers,
# flags and run path; LibTorch_ROOT_DIR, LibTorch_VERSION, LibTorch_WITH_CUDA.

set(LibTorch_TESTED_VERSION 2.13)

function(_libtorch_ask python out_root)
  set(${out_root} "" PARENT_SCOPE)
  if(NOT python)
    return()
  endif()
  # find_spec does not import torch, so this takes milliseconds.
  execute_process(
    COMMAND "${python}" -c "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE root OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE rc)
  if(rc EQUAL 0 AND root)
    set(${out_root} "${root}" PARENT_SCOPE)
  endif()
endfunction()

foreach(name LIBTORCH_ROOT LRA_PYTHON)
  if(NOT ${name} AND NOT "$ENV{${name}}" STREQUAL "")
    set(${name} "$ENV{${name}}")
  endif()
endforeach()

set(LibTorch_ROOT_DIR "")
if(LIBTORCH_ROOT)
  set(LibTorch_ROOT_DIR "${LIBTORCH_ROOT}")
  set(_libtorch_source "LIBTORCH_ROOT")
else()
  find_program(LibTorch_PYTHON3 python3)
  mark_as_advanced(LibTorch_PYTHON3)
  foreach(python "${LRA_PYTHON}" "${CMAKE_CURRENT_SOURCE_DIR}/.venv/bin/python" "${LibTorch_PYTHON3}")
    if(python)
      _libtorch_ask("${python}" LibTorch_ROOT_DIR)
      if(LibTorch_ROOT_DIR)
        set(_libtorch_source "${python}")
        break()
      endif()
    endif()
  endforeach()
endif()

if(NOT LibTorch_ROOT_DIR)
  message(FATAL_ERROR "LibTorch was not found. Run scripts/setup.sh, which installs it into .venv; or set LIBTORCH_ROOT to a LibTorch "
                      "folder (it holds include/ and lib/), or LRA_PYTHON to a Python that has torch.")
endif()
file(REAL_PATH "${LibTorch_ROOT_DIR}" LibTorch_ROOT_DIR EXPAND_TILDE)
foreach(part include/ATen/ATen.h include/torch/csrc/api/include/torch/types.h lib/libtorch_cpu.so lib/libc10.so)
  if(NOT EXISTS "${LibTorch_ROOT_DIR}/${part}")
    message(FATAL_ERROR "${LibTorch_ROOT_DIR} (from ${_libtorch_source}) is not a LibTorch folder: ${part} is missing. "
                        "Point LIBTORCH_ROOT at the folder that holds include/ and lib/.")
  endif()
endforeach()

# --- version: version.py in a wheel, build-version in a LibTorch archive
set(LibTorch_VERSION "unknown")
if(EXISTS "${LibTorch_ROOT_DIR}/version.py")
  file(STRINGS "${LibTorch_ROOT_DIR}/version.py" _line REGEX "^__version__ = ")
  string(REGEX REPLACE "^__version__ = '([^']*)'.*" "\\1" LibTorch_VERSION "${_line}")
elseif(EXISTS "${LibTorch_ROOT_DIR}/build-version")
  file(STRINGS "${LibTorch_ROOT_DIR}/build-version" LibTorch_VERSION LIMIT_COUNT 1)
endif()
if(NOT LibTorch_VERSION MATCHES "^2\\.13\\.")
  message(WARNING "LibTorch ${LibTorch_VERSION} in ${LibTorch_ROOT_DIR}: this project is written for and tested with ${LibTorch_TESTED_VERSION}.x.")
endif()

# --- C++ ABI: the old one mangles std::string differently
file(STRINGS "${LibTorch_ROOT_DIR}/lib/libc10.so" _new_abi REGEX "ErrorC1ENS_14SourceLocationENSt7__cxx11" LIMIT_COUNT 1)
if(_new_abi)
  set(_libtorch_abi 1)
else()
  set(_libtorch_abi 0)
endif()

# --- imported targets
function(_libtorch_import name)
  add_library(${name} SHARED IMPORTED)
  set_target_properties(${name} PROPERTIES IMPORTED_LOCATION "${LibTorch_ROOT_DIR}/lib/lib${name}.so"
                                           IMPORTED_NO_SONAME OFF)
endfunction()
foreach(name c10 torch_cpu torch)
  _libtorch_import(${name})
endforeach()

add_library(LibTorch INTERFACE)
add_library(LibTorch::LibTorch ALIAS LibTorch)
# -idirafter: torch's include folder carries its own fmt, which must not shadow ours; GCC treats such a folder as a system folder.
target_compile_options(LibTorch INTERFACE "SHELL:-idirafter ${LibTorch_ROOT_DIR}/include"
                                          "SHELL:-idirafter ${LibTorch_ROOT_DIR}/include/torch/csrc/api/include")
target_compile_definitions(LibTorch INTERFACE _GLIBCXX_USE_CXX11_ABI=${_libtorch_abi})
# at::parallel_for is header code: without -fopenmp it runs on one thread, silently.
target_compile_options(LibTorch INTERFACE -fopenmp)

# The wheel brings its own libgomp under the plain soname, or under a mangled name. Link that file first, so that one OpenMP runtime is
# loaded and its RPATH entry is searched before the system's.
file(GLOB _libtorch_gomp "${LibTorch_ROOT_DIR}/lib/libgomp*.so*" "${LibTorch_ROOT_DIR}/../torch.libs/libgomp*.so*")
if(_libtorch_gomp)
  list(GET _libtorch_gomp 0 _libtorch_gomp)
else()
  set(_libtorch_gomp gomp)
endif()

set(LibTorch_FOUND TRUE)
set(LibTorch_WITH_CUDA OFF)
set(_libtorch_libraries torch_cpu c10)
if(EXISTS "${LibTorch_ROOT_DIR}/lib/libtorch_cuda.so")
  set(LibTorch_WITH_CUDA ON)
  foreach(name torch_cuda c10_cuda)
    _libtorch_import(${name})
    list(APPEND _libtorch_cuda_files "${LibTorch_ROOT_DIR}/lib/lib${name}.so")
  endforeach()
  # Nothing refers to these by name: they register their kernels when they are loaded, so the linker must not drop them. Their own
  # dependencies (cuBLAS, cuDNN ...) are found at run time through their run paths, not at link time.
  list(JOIN _libtorch_cuda_files "," _libtorch_cuda_files)
  target_link_options(LibTorch INTERFACE "LINKER:--allow-shlib-undefined"
                                         "LINKER:--push-state,--no-as-needed,${_libtorch_cuda_files},--pop-state")
endif()
target_link_libraries(LibTorch INTERFACE ${_libtorch_libraries} "${_libtorch_gomp}")

message(STATUS "LibTorch ${LibTorch_VERSION} in ${LibTorch_ROOT_DIR} (from ${_libtorch_source}; CUDA: ${LibTorch_WITH_CUDA})")
