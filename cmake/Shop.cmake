# The few words the tree's CMakeLists.txt files are written in.

# The lines of deploy/services, each of which begins with the name of a process and its two ports.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/deploy/services)
file(STRINGS ${CMAKE_SOURCE_DIR}/deploy/services SHOP_PROCESSES REGEX "^[a-z]")

# shop_library(NAME core SOURCES … DEPENDS …): a static library that others include as
# "common/core/…" or "orders/…".
function(shop_library)
  cmake_parse_arguments(ARG "" "NAME" "SOURCES;DEPENDS" ${ARGN})
  add_library(shop_${ARG_NAME} STATIC ${ARG_SOURCES})
  target_include_directories(shop_${ARG_NAME} PUBLIC
    ${CMAKE_SOURCE_DIR}/libs ${CMAKE_SOURCE_DIR}/services ${CMAKE_SOURCE_DIR}
    ${CMAKE_CURRENT_BINARY_DIR})
  target_link_libraries(shop_${ARG_NAME} PUBLIC ${ARG_DEPENDS})
endfunction()

# shop_process(NAME orders SOURCES main.cpp DEPENDS …): an executable bin/orders.
function(shop_process)
  cmake_parse_arguments(ARG "" "NAME" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${ARG_NAME}_process ${ARG_SOURCES})
  set_target_properties(${ARG_NAME}_process PROPERTIES OUTPUT_NAME ${ARG_NAME})
  target_link_libraries(${ARG_NAME}_process PRIVATE ${ARG_DEPENDS})
  # Saves a fifth of a request's CPU; the sanitizers bring an allocator of their own. Nothing calls it
  # by name, so the linker has to be told to keep it.
  if(NOT SHOP_SANITIZER)
    target_link_libraries(${ARG_NAME}_process PRIVATE
      # One item: CMake drops repeated flags, and gRPC brings a --pop-state of its own.
      -Wl,--push-state,--no-as-needed,${MIMALLOC},--pop-state)
  endif()
endfunction()

# shop_migrations(orders): compiles migrations/*.sql of this folder into shop_<name>_migrations,
# declared in "<name>_migrations.h" as `extern const shop::postgres::MigrationSet kOrdersMigrations`.
function(shop_migrations NAME)
  file(GLOB FILES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/migrations/*.sql)
  list(SORT FILES)
  string(SUBSTRING ${NAME} 0 1 FIRST)
  string(TOUPPER ${FIRST} FIRST)
  string(SUBSTRING ${NAME} 1 -1 REST)
  set(VARIABLE k${FIRST}${REST}Migrations)
  set(HEADER ${CMAKE_CURRENT_BINARY_DIR}/${NAME}_migrations.h)
  set(SOURCE ${CMAKE_CURRENT_BINARY_DIR}/${NAME}_migrations.cpp)
  file(CONFIGURE OUTPUT ${HEADER} CONTENT
"// Made from ${NAME}'s migrations folder by the build.
#pragma once
#include \"common/postgres/migrations.h\"
namespace shop {
extern const postgres::MigrationSet ${VARIABLE};
}
" @ONLY)
  set(ENTRIES "")
  foreach(FILE ${FILES})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${FILE})
    get_filename_component(BASE ${FILE} NAME_WE)
    file(READ ${FILE} SQL)
    string(APPEND ENTRIES "    {\"${BASE}\", R\"migration(${SQL})migration\"},\n")
  endforeach()
  file(GENERATE OUTPUT ${SOURCE} CONTENT
"#include \"${NAME}_migrations.h\"
namespace shop {
const postgres::MigrationSet ${VARIABLE}{\"${NAME}\", {
${ENTRIES}}};
}
")
  add_library(shop_${NAME}_migrations STATIC ${SOURCE})
  target_include_directories(shop_${NAME}_migrations PUBLIC ${CMAKE_CURRENT_BINARY_DIR}
    ${CMAKE_SOURCE_DIR}/libs)
endfunction()

# They build what `ctest -L unit` and `ctest -L integration` run, and no more: building everything with
# a sanitizer takes long.
add_custom_target(unit_tests)
add_custom_target(integration_tests)

# shop_test(core/result_test DEPENDS …): one test executable. The last part of its name says what it
# needs: _test nothing, _pgtest PostgreSQL, _redistest Redis, _mongotest MongoDB, _kafkatest Kafka
# (and PostgreSQL), _longtest PostgreSQL and many minutes. Those with a need run between the fixture that
# starts the servers and the one that stops them, and read their addresses from the file the fixture wrote.
function(shop_test NAME)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  if(NOT SHOP_BUILD_TESTS)
    return()
  endif()
  # The source may lie in a folder below; the test is called by its last part.
  set(SOURCE ${NAME}.cpp)
  get_filename_component(NAME ${NAME} NAME)
  set(TARGET ${NAME})
  add_executable(${TARGET} ${SOURCE} ${ARG_SOURCES})
  set_target_properties(${TARGET} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${TARGET} PRIVATE ${ARG_DEPENDS}
    $<TARGET_NAME_IF_EXISTS:shop_testing> GTest::gmock GTest::gtest_main)
  add_test(NAME ${NAME} COMMAND ${TARGET})
  if(NAME MATCHES "_test$")
    add_dependencies(unit_tests ${TARGET})
    set(LIMIT 120)
    if(SHOP_SANITIZER)
      set(LIMIT 600)
    endif()
    set_tests_properties(${NAME} PROPERTIES LABELS unit TIMEOUT ${LIMIT})
  else()
    set(LABEL integration)
    set(LIMIT 240)
    if(NAME MATCHES "_longtest$")
      set(LABEL long)
      set(LIMIT 2400)
    else()
      add_dependencies(integration_tests ${TARGET})
    endif()
    set_tests_properties(${NAME} PROPERTIES LABELS ${LABEL} TIMEOUT ${LIMIT}
      FIXTURES_REQUIRED servers
      ENVIRONMENT "TEST_SERVERS_ENV=${CMAKE_BINARY_DIR}/test-servers/env;LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/lsan.supp")
  endif()
endfunction()

# shop_test_protos(NAME ROOT dir PROTOS a/b.proto … [GRPC]): messages that only tests know, with the
# services' stubs when GRPC is given, included as "a/b.pb.h". They are no part of shop_proto.
function(shop_test_protos NAME)
  cmake_parse_arguments(ARG "GRPC" "ROOT" "PROTOS" ${ARGN})
  set(OUT ${CMAKE_CURRENT_BINARY_DIR}/${NAME})
  file(MAKE_DIRECTORY ${OUT})
  set(SOURCES "")
  foreach(PROTO ${ARG_PROTOS})
    string(REGEX REPLACE "\\.proto$" "" BASE ${PROTO})
    set(MADE ${OUT}/${BASE}.pb.cc)
    set(PLUGIN "")
    if(ARG_GRPC)
      list(APPEND MADE ${OUT}/${BASE}.grpc.pb.cc)
      set(PLUGIN --grpc_out=${OUT} --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin>)
    endif()
    add_custom_command(OUTPUT ${MADE}
      COMMAND protobuf::protoc -I${ARG_ROOT} -I${CMAKE_SOURCE_DIR}/proto -I${GOOGLEAPIS_DIR}
              --cpp_out=${OUT} ${PLUGIN} ${ARG_ROOT}/${PROTO}
      DEPENDS ${ARG_ROOT}/${PROTO}
      VERBATIM)
    list(APPEND SOURCES ${MADE})
  endforeach()
  add_library(${NAME} STATIC ${SOURCES})
  target_include_directories(${NAME} SYSTEM PUBLIC ${OUT})
  target_compile_options(${NAME} PRIVATE -w)
  target_link_libraries(${NAME} PUBLIC shop_proto)
  if(ARG_GRPC)
    target_link_libraries(${NAME} PUBLIC gRPC::grpc++)
  endif()
endfunction()
