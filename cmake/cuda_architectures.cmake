# Which GPUs the kernels are compiled for. Included before project().
# The whole list takes six compilations of every kernel, so only builds that are carried to other machines pay for it
# (preset portable, scripts/build_all_architectures.sh). Any other build serves this machine's card. First that is set:
# 1. CMAKE_CUDA_ARCHITECTURES, as everywhere in CMake;
# 2. PENSTOCK_CUDA_ARCHITECTURES in the environment: "all", or architectures of the list below;
# 3. the cards nvidia-smi reports;
# 4. without a card: 80, code for compute capability 8.0 with its PTX, which the driver of any newer card can compile.

# -real: machine code only. 90a: with what only 9.0 has. The last one also carries PTX, for cards newer than all of them.
set(penstock_all_cuda_architectures 80-real 86-real 89-real 90a-real 100-real 120)
set(penstock_default_cuda_architecture 80)

# Machine code runs on its own major version from its minor version on. A card newer than the whole list gets the last
# entry's PTX, one of a major version that the list skips gets code of its own; older than 8.0: empty.
function(penstock_architecture_of_card capability result)
  string(REPLACE "." "" wanted "${capability}")
  math(EXPR wanted_major "${wanted} / 10")
  set(found "")
  foreach(architecture ${penstock_all_cuda_architectures})
    string(REGEX MATCH "^[0-9]+" number "${architecture}")
    math(EXPR major "${number} / 10")
    if(major EQUAL wanted_major AND NOT number GREATER wanted)
      set(found "${architecture}")
    endif()
  endforeach()
  if(NOT found AND wanted GREATER number)
    list(GET penstock_all_cuda_architectures -1 found)
  elseif(NOT found AND wanted GREATER 80)
    set(found "${wanted}-real")
  endif()
  set(${result} "${found}" PARENT_SCOPE)
endfunction()

function(penstock_architectures_of_this_machine result)
  set(${result} "" PARENT_SCOPE)
  find_program(penstock_nvidia_smi nvidia-smi NO_CACHE PATHS /usr/lib/wsl/lib)
  if(NOT penstock_nvidia_smi)
    return()
  endif()
  execute_process(COMMAND "${penstock_nvidia_smi}" --query-gpu=compute_cap --format=csv,noheader
    OUTPUT_VARIABLE output ERROR_QUIET RESULT_VARIABLE status TIMEOUT 20)
  if(NOT status EQUAL 0)
    return()
  endif()
  string(REGEX MATCHALL "[0-9]+\\.[0-9]+" capabilities "${output}")
  set(architectures "")
  foreach(capability ${capabilities})
    penstock_architecture_of_card("${capability}" architecture)
    if(architecture)
      list(APPEND architectures "${architecture}")
    else()
      message(WARNING "a card of compute capability ${capability} cannot be used: 8.0 or newer is needed")
    endif()
  endforeach()
  list(REMOVE_DUPLICATES architectures)
  set(${result} "${architectures}" PARENT_SCOPE)
endfunction()

function(penstock_choose_cuda_architectures result)
  if(DEFINED ENV{PENSTOCK_CUDA_ARCHITECTURES} AND NOT "$ENV{PENSTOCK_CUDA_ARCHITECTURES}" STREQUAL "")
    set(chosen "$ENV{PENSTOCK_CUDA_ARCHITECTURES}")
    string(REPLACE " " ";" chosen "${chosen}")
    if(chosen STREQUAL "all")
      set(chosen ${penstock_all_cuda_architectures})
    endif()
  else()
    penstock_architectures_of_this_machine(chosen)
    if(NOT chosen)
      set(chosen "${penstock_default_cuda_architecture}")
    endif()
  endif()
  message(STATUS "CUDA architectures: ${chosen}")
  set(${result} "${chosen}" PARENT_SCOPE)
endfunction()
