# Flags every target of ours is built with. Warnings are errors.
add_library(penstock_flags INTERFACE)
target_compile_options(penstock_flags INTERFACE
  # g++ 12 reports -Wrestrict falsely on string concatenation at -O3; designated initialisers leave defaults on purpose.
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wno-restrict
    -Wno-missing-field-initializers>
  # g++ fuses multiply-adds by default; results would then depend on the instruction set.
  $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
if(PENSTOCK_SANITIZER)
  # Instrumented code makes g++ 12 report -Wmaybe-uninitialized falsely.
  target_compile_options(penstock_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${PENSTOCK_SANITIZER} -fno-omit-frame-pointer -Wno-maybe-uninitialized>)
  target_link_options(penstock_flags INTERFACE -fsanitize=${PENSTOCK_SANITIZER})
endif()
find_program(PENSTOCK_LLD ld.lld)
if(PENSTOCK_LLD)
  add_link_options(-fuse-ld=lld)
endif()
