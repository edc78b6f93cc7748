// Prints the OpenAPI document, or with `--events` the AsyncAPI document: for tests of them that need no
// gateway.
#include <iostream>
#include <string_view>

#include "gateway/openapi/asyncapi.h"
#include "gateway/openapi/document.h"
#include "gateway/services.h"

int main(int argc, char** argv) {
  using namespace shop::gateway;
  const bool events = argc > 1 && std::string_view(argv[1]) == "--events";
  std::cout << (events ? AsyncApiDocument(DeclaredEvents()) : OpenApiDocument(DeclaredServices()));
}
