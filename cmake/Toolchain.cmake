# How everything here is compiled and linked: warnings are errors, ccache and mold where they are.
add_compile_options(-Wall -Wextra -Werror -fno-omit-frame-pointer)

find_program(SHOP_CCACHE ccache)
if(SHOP_CCACHE)
  # A copy of the tree, such as those for planted faults, finds what another one has compiled.
  execute_process(COMMAND ${SHOP_CCACHE} --get-config base_dir OUTPUT_VARIABLE BASE OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(NOT BASE)
    set(SHOP_CCACHE env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${SHOP_CCACHE})
  endif()
  set(CMAKE_C_COMPILER_LAUNCHER ${SHOP_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${SHOP_CCACHE})
endif()

find_program(SHOP_MOLD mold)
if(SHOP_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

if(SHOP_SANITIZER)
  add_compile_options(-fsanitize=${SHOP_SANITIZER} -fno-sanitize-recover=all -O1)
  add_link_options(-fsanitize=${SHOP_SANITIZER})
  if(SHOP_SANITIZER STREQUAL "thread")
    # Asio uses fences, of which this sanitizer knows nothing; Protobuf's headers would lay out maps
    # differently from the packaged library.
    add_compile_options(-Wno-tsan -U__SANITIZE_THREAD__)
  endif()
else()
  # An overwritten stack and a copy beyond a buffer end the process, and nothing can redirect its calls
  # into libraries (OpenSSF, Compiler Options Hardening Guide for C and C++). A sanitizer sees more.
  add_compile_options(-fstack-protector-strong -D_FORTIFY_SOURCE=2)
  add_link_options(-Wl,-z,relro,-z,now)
endif()
