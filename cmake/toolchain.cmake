# Language standards and the nvcc of the virtual environment. Included before project().
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

file(GLOB PENSTOCK_SITE_PACKAGES "${PENSTOCK_VENV}/lib/python3*/site-packages")
if(NOT PENSTOCK_SITE_PACKAGES)
  message(FATAL_ERROR "no virtual environment at ${PENSTOCK_VENV}: run ./scripts/setup.sh")
endif()
list(GET PENSTOCK_SITE_PACKAGES 0 PENSTOCK_SITE_PACKAGES)
set(PENSTOCK_CUDA_ROOT "${PENSTOCK_SITE_PACKAGES}/nvidia/cu13")

if(PENSTOCK_CUDA)
  set(CMAKE_CUDA_COMPILER "${PENSTOCK_CUDA_ROOT}/bin/nvcc")
  set(CMAKE_CUDA_RUNTIME_LIBRARY None)
  # No CMAKE_CUDA_STANDARD: CMake 3.25 knows no CUDA20 for nvcc 13, so targets pass -std=c++20 themselves.
  include(cuda_architectures)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    penstock_choose_cuda_architectures(CMAKE_CUDA_ARCHITECTURES)
  elseif(CMAKE_CUDA_ARCHITECTURES STREQUAL "all")  # CMake's own "all" is another list
    set(CMAKE_CUDA_ARCHITECTURES ${penstock_all_cuda_architectures})
  endif()
endif()
