# What makes a build portable (PENSTOCK_PORTABLE, preset `portable`): programs that run on another machine with nothing
# installed but a driver and the same torch version. Included after torch and before the other libraries are looked for.
# - The libraries of the system are compiled in, or linked from their static archives. One that the distribution only
#   ships as a shared library (Debian's simdjson) is carried along in lib/ by the install step.
# - libstdc++ and libgcc stay the system's. LibTorch throws exceptions and passes std::string into our code: with a copy
#   of our own, two exception states and two sets of locale data would live in one process. LibTorch itself needs the
#   system's, so a static copy would not make a single machine more usable.
# - Nothing holds a path of the machine that built it: app/launcher finds LibTorch and the real program beside it.
include_guard()

set(penstock_torch_version_file "${PENSTOCK_TORCH_ROOT}/include/torch/headeronly/version.h")
file(STRINGS "${penstock_torch_version_file}" penstock_torch_version REGEX "^ *\"[0-9.]+\"$")
string(REGEX MATCH "[0-9.]+" penstock_torch_version "${penstock_torch_version}")
if(NOT penstock_torch_version)
  message(FATAL_ERROR "no version in ${penstock_torch_version_file}")
endif()

# Before the first target: both reach only targets that are created later.
if(PENSTOCK_PORTABLE)
  add_link_options(-s)
  # Checks and LibTorch's headers put their file's name into messages.
  foreach(folder "${PENSTOCK_SITE_PACKAGES}" "${CMAKE_SOURCE_DIR}")
    add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-ffile-prefix-map=${folder}/=>"
      "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-ffile-prefix-map=${folder}/=>")
  endforeach()
endif()

# The launcher is built everywhere, because its tests are.
set(penstock_needed_libraries libc10.so libtorch_cpu.so libtorch.so)
if(PENSTOCK_CUDA)
  list(APPEND penstock_needed_libraries libc10_cuda.so libtorch_cuda.so libcudart.so.13)
endif()
list(JOIN penstock_needed_libraries ":" penstock_needed_libraries)
file(GLOB launcher_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/app/launcher/*.cpp")
add_executable(penstock_launcher ${launcher_sources})
target_include_directories(penstock_launcher PRIVATE "${CMAKE_SOURCE_DIR}")
target_compile_definitions(penstock_launcher PRIVATE PENSTOCK_TORCH_VERSION="${penstock_torch_version}"
  PENSTOCK_NEEDED_LIBRARIES="${penstock_needed_libraries}")
target_link_libraries(penstock_launcher PRIVATE penstock_flags)

# penstock_carry(TARGET): in the package the program is TARGET-bin, and TARGET is the launcher that starts it.
function(penstock_carry target)
  if(NOT PENSTOCK_PORTABLE)
    return()
  endif()
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${target}-bin)
  set_property(GLOBAL APPEND PROPERTY penstock_carried_programs ${target})
  install(TARGETS ${target} RUNTIME_DEPENDENCY_SET penstock_carried RUNTIME DESTINATION .)
  install(PROGRAMS "$<TARGET_FILE:penstock_launcher>" DESTINATION . RENAME ${target})
endfunction()

# Called once, after the last penstock_carry().
function(penstock_carry_libraries_and_scripts)
  if(NOT PENSTOCK_PORTABLE)
    return()
  endif()
  install(RUNTIME_DEPENDENCY_SET penstock_carried DESTINATION lib
    PRE_EXCLUDE_REGEXES "^lib(torch|c10|cudart)" "^lib(c|m|dl|rt|pthread|gcc_s|stdc\\+\\+)\\.so" "^ld-linux")
  install(FILES scripts/text_helper.py DESTINATION scripts)
  install(PROGRAMS scripts/gpu_tests.sh DESTINATION scripts)
  get_property(programs GLOBAL PROPERTY penstock_carried_programs)
  add_custom_target(portable COMMENT "package/ is what another machine needs"
    COMMAND "${CMAKE_COMMAND}" --install "${CMAKE_BINARY_DIR}" --prefix "${CMAKE_BINARY_DIR}/package")
  add_dependencies(portable penstock_launcher ${programs})
endfunction()

if(NOT PENSTOCK_PORTABLE)
  return()
endif()
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
set(CMAKE_INSTALL_RPATH "$ORIGIN/lib")

# fmt and spdlog without their libraries: targets of the names that their packages would define, which then do not.
foreach(target fmt::fmt fmt::fmt-header-only)
  add_library(${target} INTERFACE IMPORTED)
  target_compile_definitions(${target} INTERFACE FMT_HEADER_ONLY=1)
endforeach()
foreach(target spdlog::spdlog spdlog::spdlog_header_only)
  add_library(${target} INTERFACE IMPORTED)
  target_compile_definitions(${target} INTERFACE SPDLOG_FMT_EXTERNAL SPDLOG_HEADER_ONLY)
  target_link_libraries(${target} INTERFACE fmt::fmt)
endforeach()

# penstock_link_archive(TARGET LIBRARY [NEEDS FILE]): TARGET's static archive instead of its shared library, where there
# is one. FILE is a shared library that the archive calls; where it is missing, the archive can do without.
function(penstock_link_archive target library)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "NEEDS" "")
  find_library(archive_${library} NAMES lib${library}.a)
  if(NOT archive_${library})
    message(STATUS "no lib${library}.a: the shared library is carried along")
    return()
  endif()
  get_target_property(type ${target} TYPE)
  if(type STREQUAL INTERFACE_LIBRARY)
    set(archives "${archive_${library}}")
    if(arg_NEEDS)
      find_library(needed_by_${library} NAMES ${arg_NEEDS})
      if(needed_by_${library})
        list(APPEND archives "${needed_by_${library}}")
      endif()
    endif()
    set_target_properties(${target} PROPERTIES INTERFACE_LINK_LIBRARIES "${archives}")
    return()
  endif()
  get_target_property(configurations ${target} IMPORTED_CONFIGURATIONS)
  foreach(configuration ${configurations})
    set_target_properties(${target} PROPERTIES IMPORTED_LOCATION_${configuration} "${archive_${library}}"
      IMPORTED_SONAME_${configuration} "")
  endforeach()
endfunction()
