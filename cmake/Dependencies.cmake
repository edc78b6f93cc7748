# Every package the tree is built on; install-all.sh brings them.
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(ZLIB REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS system)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PQXX REQUIRED IMPORTED_TARGET libpqxx)
# Debian 13 has libpqxx 7.10, which deprecates what 6.4 of Debian 12 has for parameters, and that has nothing newer.
if(PQXX_VERSION VERSION_GREATER_EQUAL 7)
  target_compile_options(PkgConfig::PQXX INTERFACE -Wno-deprecated-declarations)
endif()
pkg_check_modules(RDKAFKA REQUIRED IMPORTED_TARGET rdkafka++ rdkafka)
pkg_check_modules(HIREDIS REQUIRED IMPORTED_TARGET hiredis)
pkg_check_modules(SIMDJSON REQUIRED IMPORTED_TARGET simdjson)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
# 0.8.3 of Debian 13 insists on inlining what -Og leaves out of line.
target_compile_definitions(PkgConfig::XXHASH INTERFACE $<$<CONFIG:Debug>:XXH_NO_INLINE_HINTS=1>)
pkg_check_modules(RE2 REQUIRED IMPORTED_TARGET re2)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
find_package(mongoc-1.0 CONFIG REQUIRED)
find_library(MIMALLOC mimalloc REQUIRED)

# google/api and google/rpc come from the package that carries them, never from a copy here.
find_path(GOOGLEAPIS_DIR google/api/annotations.proto
  PATHS /usr/share/gocode/src/github.com/gogo/googleapis
  NO_DEFAULT_PATH REQUIRED)

# OpenTelemetry's protocol.
find_path(OTLP_DIR opentelemetry/proto/collector/trace/v1/trace_service.proto REQUIRED)

if(SHOP_BUILD_TESTS)
  find_package(GTest CONFIG REQUIRED)
endif()
