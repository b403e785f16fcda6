# LibTorch of the virtual environment as plain imported targets. find_package(Torch) is avoided on purpose: it rewrites
# the CUDA flags and probes for a GPU.
set(PENSTOCK_TORCH_ROOT "${PENSTOCK_SITE_PACKAGES}/torch")
if(NOT EXISTS "${PENSTOCK_TORCH_ROOT}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "no LibTorch in ${PENSTOCK_TORCH_ROOT}: run ./scripts/setup.sh")
endif()

# LibTorch's headers carry another fmt beside them; ours must be found first.
find_path(PENSTOCK_FMT_INCLUDE fmt/format.h PATHS /usr/include REQUIRED)
file(MAKE_DIRECTORY "${CMAKE_BINARY_DIR}/include/fmt_first")
file(CREATE_LINK "${PENSTOCK_FMT_INCLUDE}/fmt" "${CMAKE_BINARY_DIR}/include/fmt_first/fmt" SYMBOLIC)

add_library(penstock_torch INTERFACE)
target_include_directories(penstock_torch SYSTEM INTERFACE "${CMAKE_BINARY_DIR}/include/fmt_first"
  "${PENSTOCK_TORCH_ROOT}/include" "${PENSTOCK_TORCH_ROOT}/include/torch/csrc/api/include")
target_compile_definitions(penstock_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
target_link_directories(penstock_torch INTERFACE "${PENSTOCK_TORCH_ROOT}/lib")
set(penstock_torch_rpath "${PENSTOCK_TORCH_ROOT}/lib")
set(penstock_torch_libraries "${PENSTOCK_TORCH_ROOT}/lib/libc10.so" "${PENSTOCK_TORCH_ROOT}/lib/libtorch_cpu.so"
    "${PENSTOCK_TORCH_ROOT}/lib/libtorch.so")
if(PENSTOCK_CUDA)
  list(APPEND penstock_torch_libraries "${PENSTOCK_TORCH_ROOT}/lib/libc10_cuda.so"
       "${PENSTOCK_TORCH_ROOT}/lib/libtorch_cuda.so" "${PENSTOCK_CUDA_ROOT}/lib/libcudart.so.13")
  list(APPEND penstock_torch_rpath "${PENSTOCK_CUDA_ROOT}/lib")
  target_compile_definitions(penstock_torch INTERFACE PENSTOCK_CUDA)
endif()
set(penstock_torch_rpath_link ${penstock_torch_rpath} "${PENSTOCK_CUDA_ROOT}/lib")
foreach(wheel cudnn nccl nvshmem cusparselt)
  list(APPEND penstock_torch_rpath_link "${PENSTOCK_SITE_PACKAGES}/nvidia/${wheel}/lib")
endforeach()
list(JOIN penstock_torch_rpath_link ":" penstock_torch_rpath_link)
list(JOIN penstock_torch_rpath ":" penstock_torch_rpath_joined)
target_link_options(penstock_torch INTERFACE "LINKER:-rpath-link,${penstock_torch_rpath_link}")
if(NOT PENSTOCK_PORTABLE)  # a portable program's launcher tells the loader where LibTorch is
  target_link_options(penstock_torch INTERFACE "LINKER:-rpath,${penstock_torch_rpath_joined}")
endif()
target_link_libraries(penstock_torch INTERFACE
  -Wl,--no-as-needed ${penstock_torch_libraries} -Wl,--as-needed)
